"""Reading what ended runs came to, with their events: to run their pipelines' code on these again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, and_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer, Text, Uuid

from events import Event
from storage.queries import is_replayed, run_records
from storage.records import RunRecord
from storage.sql import typed
from storage.tables import events, runs, waits

LAST_ID: Final = UUID(int=2**128 - 1)
FIRST_ID: Final = UUID(int=0)

# The rows are bounded and ordered as the index on types has them: where only the event's id says the order, the planner
# walks as gladly through the events of all types.
_OF_TYPES = typed(
    """
    SELECT found.event_id
    FROM unnest(:types) AS asked(type) CROSS JOIN LATERAL (
        SELECT e.event_id FROM events e
        WHERE e.tenant = :tenant AND e.type BETWEEN asked.type AND asked.type
          AND (e.type, e.event_id) < (asked.type, :before) AND (e.type, e.event_id) >= (asked.type, :since)
        ORDER BY e.type DESC, e.event_id DESC LIMIT :most
    ) AS found
    ORDER BY found.event_id DESC LIMIT :most
    """,
    tenant=Text(),
    types=ARRAY(Text),
    before=Uuid(),
    since=Uuid(),
    most=Integer(),
)

_OF_ALL = typed(
    """
    SELECT event_id FROM events
    WHERE tenant = :tenant AND event_id < :before AND event_id >= :since
    ORDER BY event_id DESC LIMIT :most
    """,
    tenant=Text(),
    before=Uuid(),
    since=Uuid(),
    most=Integer(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastWait:
    """A wait of a run, for an event or a time; ``event`` is what ended it, None where the time was over."""

    node: str
    event: Event | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run with its event and its waits; ``accepted_version`` is the pipeline's that the event was checked against."""

    event: Event
    run: RunRecord
    accepted_version: int
    waits: tuple[PastWait, ...]


async def event_ids(
    connection: AsyncConnection,
    *,
    tenant: str,
    types: Sequence[str] | None,
    since: UUID = FIRST_ID,
    before: UUID = LAST_ID,
    most: int,
) -> list[UUID]:
    """List up to ``most`` events of these exact types, of all where None, newest first, from ``since`` to ``before``.

    ``since`` is inclusive, ``before`` is not.
    """
    values: dict[str, Any] = {"tenant": tenant, "since": since, "before": before, "most": most}
    if types is None:
        rows = await connection.execute(_OF_ALL, values)
    else:
        rows = await connection.execute(_OF_TYPES, values | {"types": list(types)})
    return list(rows.scalars())


async def ended_runs(
    connection: AsyncConnection, *, tenant: str, pipeline: str, event_ids: Sequence[UUID]
) -> list[UUID]:
    """List the runs of ``pipeline`` for these events that have ended and that no other repeats, newest event first."""
    if not event_ids:
        return []
    query = (
        select(runs.c.run_id)
        .where(
            runs.c.tenant == tenant,
            runs.c.event_id.in_(event_ids),
            runs.c.pipeline == pipeline,
            runs.c.finished_at.is_not(None),
            ~is_replayed(),
        )
        .order_by(runs.c.event_id.desc(), runs.c.run_id.desc())
    )
    return list((await connection.execute(query)).scalars())


async def past_runs(connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]) -> list[PastRun]:
    """Read runs whole, in the order of their ids as given; those that aren't there are left out."""
    if not run_ids:
        return []
    query = (
        select(runs, *(column.label(f"event_{column.name}") for column in events.c))
        .join(events, and_(events.c.tenant == runs.c.tenant, events.c.event_id == runs.c.event_id))
        .where(runs.c.tenant == tenant, runs.c.run_id.in_(run_ids))
    )
    rows = (await connection.execute(query)).all()
    records = await run_records(connection, tenant, rows)
    waited = await _waits(connection, tenant, [row.run_id for row in rows])
    found = {
        row.run_id: PastRun(
            event=_event(row),
            run=record,
            accepted_version=row.accepted_version or row.pipeline_version,
            waits=tuple(waited.get(row.run_id, ())),
        )
        for row, record in zip(rows, records, strict=True)
    }
    return [found[run_id] for run_id in run_ids if run_id in found]


async def _waits(connection: AsyncConnection, tenant: str, run_ids: Sequence[UUID]) -> dict[UUID, list[PastWait]]:
    query = (
        select(waits.c.run_id, waits.c.node, *(column.label(f"event_{column.name}") for column in events.c))
        .outerjoin(events, and_(events.c.tenant == waits.c.tenant, events.c.event_id == waits.c.matched_event_id))
        .where(waits.c.tenant == tenant, waits.c.run_id.in_(run_ids))
        .order_by(waits.c.run_id, waits.c.began_at)
    )
    found: dict[UUID, list[PastWait]] = {}
    for row in await connection.execute(query):
        event = None if row.event_event_id is None else _event(row)
        found.setdefault(row.run_id, []).append(PastWait(node=row.node, event=event))
    return found


def _event(row: Row[Any]) -> Event:
    return Event(
        tenant=row.event_tenant,
        event_id=row.event_event_id,
        source=row.event_source,
        ce_id=row.event_ce_id,
        type=row.event_type,
        subject=row.event_subject,
        time=row.event_time,
        data=row.event_data,
        received_at=row.event_received_at,
        traceparent=row.event_traceparent,
    )
