"""Removing what is over: events that ended well long ago, and the leases of processes long gone.

An event goes as a whole, with its runs, attempts and node results, once each of its runs has succeeded, was cancelled
or was replayed, and ended longer ago than asked. One that was taken in for the runs that may wait for it goes as long
after it came. The event that ended a wait stays as long as that wait's run is open. Dead runs (failed, and never
replayed) and unrouted events stay, and with them their events: they wait for somebody.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime, Double, Integer, Uuid

from storage.removing import lock_events, removal, remove_events
from storage.sql import typed

_ENDED = typed(
    """
    SELECT tenant, run_id, event_id, finished_at FROM runs
    WHERE status IN ('succeeded', 'cancelled')
      AND finished_at < now() - make_interval(secs => :age)
      AND finished_at >= :finished_at AND (finished_at, run_id) > (:finished_at, :run_id)
    ORDER BY finished_at, run_id LIMIT :most
    """,
    age=Double(),
    finished_at=DateTime(timezone=True),
    run_id=Uuid(),
    most=Integer(),
)

_IS_NEEDED: Final = """
    SELECT FROM waits w JOIN runs o ON o.tenant = w.tenant AND o.run_id = w.run_id
    WHERE w.tenant = k.tenant AND w.matched_event_id = k.event_id AND o.finished_at IS NULL
"""

_REMOVE = removal(
    f"""
    NOT EXISTS ({_IS_NEEDED}) AND NOT EXISTS (
        SELECT FROM runs r WHERE r.tenant = k.tenant AND r.event_id = k.event_id
          AND (r.finished_at IS NULL OR r.finished_at >= now() - make_interval(secs => :age)
               OR r.status = 'failed' AND NOT EXISTS (
                   SELECT FROM runs n
                   WHERE n.tenant = r.tenant AND n.event_id = r.event_id AND n.replay_of = r.run_id
               ))
    )
    """,  # noqa: S608 - made of this module's own text; values are parameters
    age=Double(),
)

_AWAITED = typed(
    """
    SELECT tenant, event_id, received_at FROM events
    WHERE routes < 0 AND received_at < now() - make_interval(secs => :age)
      AND received_at >= :received_at AND (received_at, event_id) > (:received_at, :event_id)
    ORDER BY received_at, event_id LIMIT :most
    """,
    age=Double(),
    received_at=DateTime(timezone=True),
    event_id=Uuid(),
    most=Integer(),
)

_REMOVE_AWAITED = removal(
    f"""
    NOT EXISTS ({_IS_NEEDED})
    AND NOT EXISTS (SELECT FROM runs r WHERE r.tenant = k.tenant AND r.event_id = k.event_id)
    """
)

_LEASES = typed(
    """
    WITH over AS (
        SELECT tenant, lease_id FROM worker_leases l
        WHERE ended_at < now() - make_interval(secs => :age)
          AND NOT EXISTS (SELECT FROM runs r WHERE r.status = 'running' AND r.lease_id = l.lease_id)
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM worker_leases l USING over WHERE l.tenant = over.tenant AND l.lease_id = over.lease_id
    """,
    age=Double(),
    most=Integer(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a walk has come: over runs by their ends, or over events by when they came.

    What can't be removed is passed, not met again by the same walk.
    """

    at: datetime
    id: UUID


START = Place(at=datetime(1, 1, 1, tzinfo=UTC), id=UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a batch removed, and where the next one begins; ``place`` is None when there is no more."""

    events: int
    runs: int
    place: Place | None


async def remove_ended(connection: AsyncConnection, *, age: float, most: int, place: Place = START) -> Removed:
    """Remove the events of up to ``most`` runs that come after ``place`` and ended over ``age`` seconds ago.

    Those stay that have a dead, an open or a younger run, and those that somebody else has locked.
    """
    values = {"age": age, "finished_at": place.at, "run_id": place.id, "most": most}
    ended = (await connection.execute(_ENDED, values)).all()
    if not ended:
        return Removed(events=0, runs=0, place=None)
    locked = await lock_events(connection, [(row.tenant, row.event_id) for row in ended])
    removed = await remove_events(connection, _REMOVE, locked, age=age)
    last = ended[-1]
    more = Place(at=last.finished_at, id=last.run_id) if len(ended) == most else None
    return Removed(events=removed.events, runs=len(removed.runs), place=more)


async def remove_awaited(connection: AsyncConnection, *, age: float, most: int, place: Place = START) -> Removed:
    """Remove up to ``most`` events without runs that came after ``place``, over ``age`` seconds ago, to be waited for.

    Those stay that ended a wait of a run that is open, and those that somebody else has locked.
    """
    values = {"age": age, "received_at": place.at, "event_id": place.id, "most": most}
    found = (await connection.execute(_AWAITED, values)).all()
    if not found:
        return Removed(events=0, runs=0, place=None)
    locked = await lock_events(connection, [(row.tenant, row.event_id) for row in found])
    removed = await remove_events(connection, _REMOVE_AWAITED, locked)
    last = found[-1]
    more = Place(at=last.received_at, id=last.event_id) if len(found) == most else None
    return Removed(events=removed.events, runs=0, place=more)


async def remove_leases(connection: AsyncConnection, *, age: float, most: int) -> int:
    """Remove up to ``most`` leases that ended over ``age`` seconds ago; return how many that were."""
    return (await connection.execute(_LEASES, {"age": age, "most": most})).rowcount
