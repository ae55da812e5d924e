"""What a worker process asks about what it holds and held."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text, Uuid

from storage.sql import typed

_HELD = typed(
    "SELECT tenant, run_id, attempt FROM runs WHERE status = 'running' AND lease_id = :lease_id", lease_id=Uuid()
)

_PREVIOUS = typed(
    """
    SELECT DISTINCT ON (a.run_id) a.run_id, a.span_id FROM attempts a
    JOIN runs r USING (tenant, run_id)
    WHERE a.tenant = :tenant AND a.run_id = ANY(:run_ids) AND a.attempt < r.attempt
    ORDER BY a.run_id, a.attempt DESC
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
)

# FOR UPDATE waits for claims in mid-flight, as in storage.leases.
_END = typed(
    """
    WITH held AS (
        SELECT tenant, lease_id FROM worker_leases
        WHERE ended_at IS NULL AND starts_with(worker, :prefix) AND worker <> :but
        ORDER BY lease_id FOR UPDATE
    )
    UPDATE worker_leases l SET ended_at = now() FROM held
    WHERE l.tenant = held.tenant AND l.lease_id = held.lease_id
    RETURNING l.lease_id, l.worker
    """,
    prefix=Text(),
    but=Text(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun:
    """A run that is running under a lease, as PostgreSQL tells."""

    tenant: str
    run_id: UUID
    attempt: int


async def held_runs(connection: AsyncConnection, lease_id: UUID) -> list[HeldRun]:
    """List the runs that are running under the lease."""
    rows = await connection.execute(_HELD, {"lease_id": lease_id})
    return [HeldRun(tenant=row.tenant, run_id=row.run_id, attempt=row.attempt) for row in rows]


async def previous_spans(connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Tell the span id of the attempt before the current one, by run; a run without one is left out."""
    rows = await connection.execute(_PREVIOUS, {"tenant": tenant, "run_ids": list(run_ids)})
    return {row.run_id: row.span_id for row in rows if row.span_id}


async def end_leases_of(connection: AsyncConnection, *, prefix: str, but: str = "") -> dict[UUID, str]:
    """End all leases of workers whose name begins with ``prefix``, ``but`` of one; answer with the worker of each.

    Free their runs after the commit.
    """
    return {row.lease_id: row.worker for row in await connection.execute(_END, {"prefix": prefix, "but": but})}
