"""Where runs wait, for the worker that takes one up again."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text, Uuid

from events import Event
from storage.awaited import FIRST, Kind, store_missing_keys
from storage.sql import FEW, typed

_READ = typed(
    f"""
    SELECT w.run_id, w.node, w.ended_at IS NULL AND w.until <= now() AS is_over,
           CASE WHEN w.ended_at IS NULL THEN greatest(extract(epoch FROM w.until - now()), 0) ELSE 0 END::float8
               AS remaining,
           e.tenant, e.event_id, e.source, e.ce_id, e.type, e.subject, e.time, e.data, e.received_at, e.traceparent
    FROM unnest(:run_ids) WITH ORDINALITY AS asked(run_id, place)
    JOIN waits w ON w.tenant = :tenant AND w.run_id = asked.run_id
    LEFT JOIN events e ON e.tenant = w.tenant AND e.event_id = w.matched_event_id
    WHERE {FEW}
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenant=Text(),
    run_ids=ARRAY(Uuid),
).columns(data=JSONB)

# That it has not ended depends on the row: else the index of open waits looks as good as the key.
_OVER = f"""
    FROM unnest(:run_ids) WITH ORDINALITY AS asked(run_id, place)
    JOIN waits w ON w.tenant = :tenant AND w.run_id = asked.run_id
    JOIN runs r ON r.tenant = w.tenant AND r.run_id = w.run_id
    JOIN events o ON o.tenant = r.tenant AND o.event_id = r.event_id
    WHERE {FEW} AND (w.ended_at IS NULL) = (asked.place > 0) AND w.until <= now()
"""

_KINDS = typed(
    f"""
    SELECT w.tenant, w.type, w.path, min(o.received_at) AS since {_OVER} AND w.type IS NOT NULL
    GROUP BY w.tenant, w.type, w.path
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
)

_END = typed(
    f"""
    WITH over AS (
        SELECT w.tenant, w.run_id, w.node, w.type, w.path, w.key, w.until, o.received_at AS since,
               o.event_id AS own_event_id {_OVER}
        ORDER BY w.run_id, w.node FOR NO KEY UPDATE OF w
    ), ended AS (
        UPDATE waits w SET ended_at = now(), probed = true, matched_event_id = f.event_id
        FROM over LEFT JOIN LATERAL ({FIRST.format(w="over")}) f ON true
        WHERE w.tenant = over.tenant AND w.run_id = over.run_id AND w.node = over.node AND w.ended_at IS NULL
        RETURNING w.type, w.matched_event_id
    )
    SELECT count(*) FILTER (WHERE matched_event_id IS NOT NULL) AS matched,
           count(*) FILTER (WHERE type IS NOT NULL AND matched_event_id IS NULL) AS timed_out
    FROM ended
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenant=Text(),
    run_ids=ARRAY(Uuid),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """A wait as it stands: ``remaining`` seconds, and the event once it has come.

    ``is_over``: the time is over, and nobody has taken the last look yet.
    """

    remaining: float
    event: Event | None
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """How many waits whose time is over an event had ended after all, and how many none."""

    matched: int
    timed_out: int


async def waits_of(
    connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]
) -> dict[UUID, dict[str, Waited]]:
    """Read the waits of runs, by run and node."""
    found: dict[UUID, dict[str, Waited]] = {}
    for row in await connection.execute(_READ, {"tenant": tenant, "run_ids": list(run_ids)}):
        event = None
        if row.event_id is not None:
            event = Event(
                tenant=row.tenant,
                event_id=row.event_id,
                source=row.source,
                ce_id=row.ce_id,
                type=row.type,
                subject=row.subject,
                time=row.time,
                data=row.data,
                received_at=row.received_at,
                traceparent=row.traceparent,
            )
        found.setdefault(row.run_id, {})[row.node] = Waited(remaining=row.remaining, event=event, is_over=row.is_over)
    return found


async def take_last_look(connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]) -> LastLook:
    """End the waits of runs whose time is over: by the event that came in time, if there is one after all.

    To be called in a transaction. No fence is needed: that a time is over is true whoever says it, and stays so.
    """
    values = {"tenant": tenant, "run_ids": list(run_ids)}
    kinds = [(Kind(row.tenant, row.type, row.path), row.since) for row in await connection.execute(_KINDS, values)]
    if kinds:
        await store_missing_keys(connection, kinds)
    row = (await connection.execute(_END, values)).one()
    return LastLook(matched=row.matched, timed_out=row.timed_out)
