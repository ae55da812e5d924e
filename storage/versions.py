"""Versions of pipelines, as runs have them: moving a run to another, and counting what is open in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Boolean, Integer, Text, Uuid

from storage.sql import FEW, typed

# As in a finish, the status to be found depends on the row. A run that moves on keeps what its event was checked
# against; what an older release made says nothing of that, so it is the version the run has.
_MOVE = typed(
    f"""
    WITH held AS (
        SELECT r.tenant, r.run_id, r.attempt, asked.version, asked.forget
        FROM unnest(:tenants, :run_ids, :attempts, :versions, :forget) WITH ORDINALITY
            AS asked(tenant, run_id, attempt, version, forget, place)
        JOIN runs r USING (tenant, run_id, attempt)
        WHERE {FEW} AND (r.status = 'running') = (place > 0)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r
    ), moved AS (
        UPDATE runs r
        SET pipeline_version = held.version,
            accepted_version = nullif(coalesce(r.accepted_version, r.pipeline_version), held.version)
        FROM held WHERE r.tenant = held.tenant AND r.run_id = held.run_id
        RETURNING r.run_id, r.attempt
    ), results AS (
        DELETE FROM node_results n USING held WHERE held.forget AND n.tenant = held.tenant AND n.run_id = held.run_id
    ), waited AS (
        DELETE FROM waits w USING held WHERE held.forget AND w.tenant = held.tenant AND w.run_id = held.run_id
    )
    SELECT run_id, attempt FROM moved
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenants=ARRAY(Text),
    run_ids=ARRAY(Uuid),
    attempts=ARRAY(Integer),
    versions=ARRAY(Integer),
    forget=ARRAY(Boolean),
)

# Each half has a partial index of its own, as for the queues' gauges.
_OPEN = typed(
    """
    SELECT pipeline, pipeline_version, count(*) AS runs
    FROM (
        SELECT pipeline, pipeline_version FROM runs WHERE status = 'queued'
        UNION ALL
        SELECT pipeline, pipeline_version FROM runs WHERE status = 'running'
    ) AS open GROUP BY pipeline, pipeline_version
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A held run that goes on in another ``version`` of its pipeline; ``forget``: from the start, with nothing done."""

    tenant: str
    run_id: UUID
    attempt: int
    version: int
    forget: bool = False


async def move_runs(connection: AsyncConnection, moves: Sequence[Move]) -> set[tuple[UUID, int]]:
    """Make the moves of runs that are still held; answer with the held ``(run id, attempt)`` pairs.

    A pair that is missing from the answer has lost its run: nothing of it was written. A move made twice is made once.
    """
    rows = await connection.execute(
        _MOVE,
        {
            "tenants": [move.tenant for move in moves],
            "run_ids": [move.run_id for move in moves],
            "attempts": [move.attempt for move in moves],
            "versions": [move.version for move in moves],
            "forget": [move.forget for move in moves],
        },
    )
    return {(row.run_id, row.attempt) for row in rows}


async def open_runs(connection: AsyncConnection) -> dict[tuple[str, int], int]:
    """Count the runs that have not ended, by pipeline and version; costs a look at each of them."""
    return {(row.pipeline, row.pipeline_version): row.runs for row in await connection.execute(_OPEN)}
