"""Removing events as a whole: with their runs, attempts and node results, counted in the same statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text, TypeEngine, Uuid

from storage.sql import typed

EventKey = tuple[str, UUID]
"""Tenant and event id."""

# Locked before it is looked at: a new run of the event, as a replay makes it, is then either seen by the statement
# after this one or can't be made any more.
_LOCK = typed(
    """
    SELECT e.tenant, e.event_id FROM events e
    JOIN (SELECT DISTINCT * FROM unnest(:tenants, :event_ids) AS k(tenant, event_id)) k USING (tenant, event_id)
    ORDER BY e.event_id FOR UPDATE OF e SKIP LOCKED
    """,
    tenants=ARRAY(Text),
    event_ids=ARRAY(Uuid),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedEvents:
    """How many events went, and the ids of the runs that went with them."""

    events: int
    runs: list[UUID]


def removal(condition: str, **types: TypeEngine[Any]) -> TextClause:
    """Return the statement that removes those of some events, ``k``, for which a condition of our own holds."""
    return typed(
        f"""
        WITH over AS (
            SELECT k.tenant, k.event_id FROM unnest(:tenants, :event_ids) AS k(tenant, event_id) WHERE {condition}
        ), removed AS (
            DELETE FROM runs r USING over WHERE r.tenant = over.tenant AND r.event_id = over.event_id
            RETURNING r.tenant, r.run_id
        ), counted AS (
            INSERT INTO run_deltas (tenant, removed)
            SELECT tenant, count(*) FROM removed GROUP BY tenant ORDER BY tenant
        ), gone AS (
            DELETE FROM events e USING over WHERE e.tenant = over.tenant AND e.event_id = over.event_id
            RETURNING e.tenant
        )
        SELECT (SELECT count(*) FROM gone) AS events, (SELECT array_agg(run_id) FROM removed) AS runs
        """,  # noqa: S608 - made of this package's own text; values are parameters
        tenants=ARRAY(Text),
        event_ids=ARRAY(Uuid),
        **types,
    )


async def lock_events(connection: AsyncConnection, keys: Sequence[EventKey]) -> list[EventKey]:
    """Lock the events to be looked at and removed; answer with those that nobody else is at."""
    rows = await connection.execute(_LOCK, _columns(keys))
    return [(row.tenant, row.event_id) for row in rows]


async def remove_events(
    connection: AsyncConnection, statement: TextClause, keys: Sequence[EventKey], **values: object
) -> RemovedEvents:
    """Remove those of the locked events that a statement of ``removal`` lets go."""
    row = (await connection.execute(statement, {**_columns(keys), **values})).one()
    return RemovedEvents(events=row.events, runs=row.runs or [])


def _columns(keys: Sequence[EventKey]) -> dict[str, object]:
    return {"tenants": [tenant for tenant, _ in keys], "event_ids": [event_id for _, event_id in keys]}
