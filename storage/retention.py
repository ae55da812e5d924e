"""Removing what is over: events that ended well long ago, and the leases of processes long gone.

An event goes as a whole, with its runs, attempts and node results, once each of its runs has succeeded, was cancelled
or was replayed, and ended longer ago than asked. Dead runs (failed, and never replayed) and unrouted events stay, and
with them their events: they wait for somebody.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
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

_REMOVE = removal(
    """
    NOT EXISTS (
        SELECT FROM runs r WHERE r.tenant = k.tenant AND r.event_id = k.event_id
          AND (r.finished_at IS NULL OR r.finished_at >= now() - make_interval(secs => :age)
               OR r.status = 'failed' AND NOT EXISTS (
                   SELECT FROM runs n
                   WHERE n.tenant = r.tenant AND n.event_id = r.event_id AND n.replay_of = r.run_id
               ))
    )
    """,
    age=Double(),
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
    """How far a walk over ended runs has come. What can't be removed is passed, not met again by the same walk."""

    finished_at: datetime
    run_id: UUID


START = Place(finished_at=datetime(1, 1, 1, tzinfo=UTC), run_id=UUID(int=0))


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
    values = {"age": age, "finished_at": place.finished_at, "run_id": place.run_id, "most": most}
    ended = (await connection.execute(_ENDED, values)).all()
    if not ended:
        return Removed(events=0, runs=0, place=None)
    locked = await lock_events(connection, [(row.tenant, row.event_id) for row in ended])
    removed = await remove_events(connection, _REMOVE, locked, age=age)
    last = ended[-1]
    more = Place(finished_at=last.finished_at, run_id=last.run_id) if len(ended) == most else None
    return Removed(events=removed.events, runs=len(removed.runs), place=more)


async def remove_leases(connection: AsyncConnection, *, age: float, most: int) -> int:
    """Remove up to ``most`` leases that ended over ``age`` seconds ago; return how many that were."""
    return (await connection.execute(_LEASES, {"age": age, "most": most})).rowcount
