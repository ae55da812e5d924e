"""Removing dead runs, at an operator's word alone.

An event goes as a whole, once each of its runs is over: has succeeded, was cancelled or was replayed, or is one of the
dead ones that are meant. Where another dead run, or one that is open, waits for somebody, all of it stays.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer, TypeEngine, Uuid

from storage.dead import DEAD, FILTER_TYPES, IS_DEAD, MATCHES, DeadFilter, filter_values
from storage.removing import lock_events, removal, remove_events
from storage.sql import typed

_IN_THE_WAY = f"""
    SELECT FROM runs o WHERE o.tenant = {{k}}.tenant AND o.event_id = {{k}}.event_id
      AND (o.finished_at IS NULL OR {IS_DEAD.format(r="o")} AND NOT ({MATCHES.format(r="o")}))
"""

_COUNT = typed(
    f"""
    SELECT count(*) AS matching, count(*) FILTER (WHERE EXISTS ({_IN_THE_WAY.format(k="d")})) AS kept
    FROM (SELECT :tenant AS tenant, dead.* FROM ({DEAD}) AS dead) AS d
    """,  # noqa: S608 - this module's own text
    **FILTER_TYPES,
)

_NEXT = typed(
    f"""
    SELECT DISTINCT event_id FROM ({DEAD}) AS dead WHERE event_id > :after_event ORDER BY event_id LIMIT :most
    """,  # noqa: S608 - this module's own text
    after_event=Uuid(),
    most=Integer(),
    **FILTER_TYPES,
)

_OF_EVENTS = typed(f"{DEAD} AND r.event_id = ANY(:event_ids)", event_ids=ARRAY(Uuid), **FILTER_TYPES)

_RUN_TYPES: dict[str, TypeEngine[Any]] = {
    name: kind for name, kind in FILTER_TYPES.items() if name not in {"tenant", "type"}
}

_REMOVE = removal(f"NOT EXISTS ({_IN_THE_WAY.format(k='k')})", **_RUN_TYPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purgeable:
    """How many dead runs match, and how many of them stay because their event has to."""

    matching: int
    kept: int


START: Final = UUID(int=0)
"""Before every event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What a batch removed: dead runs that match by id, all runs and events by number; ``kept`` dead runs stayed.

    ``place`` is the event after which the next batch begins, None when there is no more; what stays is passed.
    """

    dead: list[UUID]
    kept: int
    runs: int
    events: int
    place: UUID | None


async def count_purgeable(connection: AsyncConnection, *, tenant: str, matching: DeadFilter) -> Purgeable:
    """Count what a purge would meet."""
    row = (await connection.execute(_COUNT, filter_values(tenant, matching))).one()
    return Purgeable(matching=row.matching, kept=row.kept)


async def purge_dead(
    connection: AsyncConnection, *, tenant: str, matching: DeadFilter, most: int, place: UUID = START
) -> Purged:
    """Remove up to ``most`` events, after ``place``, that have dead runs which match.

    Those stay that have another run that waits for somebody or is open, and those that somebody else has locked.
    """
    values = filter_values(tenant, matching)
    rows = await connection.execute(_NEXT, values | {"after_event": place, "most": most})
    found = [row.event_id for row in rows]
    if not found:
        return Purged(dead=[], kept=0, runs=0, events=0, place=None)
    locked = await lock_events(connection, [(tenant, event_id) for event_id in found])
    dead = [row.run_id for row in await connection.execute(_OF_EVENTS, values | {"event_ids": found})]
    removed = await remove_events(connection, _REMOVE, locked, **{name: values[name] for name in _RUN_TYPES})
    gone = set(removed.runs)
    return Purged(
        dead=sorted(gone.intersection(dead)),
        kept=len(set(dead) - gone),
        runs=len(gone),
        events=removed.events,
        place=found[-1] if len(found) == most else None,
    )
