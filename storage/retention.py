"""Removing what is over: events that ended well long ago, and the leases of processes long gone.

An event goes as a whole, with its runs, attempts and node results, once each of its runs has succeeded, was cancelled
or was replayed, and ended longer ago than asked. Dead runs (failed, and never replayed) and unrouted events stay, and
with them their events: they wait for somebody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime, Double, Integer, Text, Uuid

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

_REMOVE = typed(
    """
    WITH over AS (
        SELECT k.tenant, k.event_id FROM unnest(:tenants, :event_ids) AS k(tenant, event_id)
        WHERE NOT EXISTS (
            SELECT FROM runs r WHERE r.tenant = k.tenant AND r.event_id = k.event_id
              AND (r.finished_at IS NULL OR r.finished_at >= now() - make_interval(secs => :age)
                   OR r.status = 'failed' AND NOT EXISTS (
                       SELECT FROM runs n
                       WHERE n.tenant = r.tenant AND n.event_id = r.event_id AND n.replay_of = r.run_id
                   ))
        )
    ), removed AS (
        DELETE FROM runs r USING over WHERE r.tenant = over.tenant AND r.event_id = over.event_id RETURNING r.tenant
    ), counted AS (
        INSERT INTO run_deltas (tenant, removed) SELECT tenant, count(*) FROM removed GROUP BY tenant ORDER BY tenant
    ), gone AS (
        DELETE FROM events e USING over WHERE e.tenant = over.tenant AND e.event_id = over.event_id RETURNING e.tenant
    )
    SELECT (SELECT count(*) FROM gone) AS events, (SELECT count(*) FROM removed) AS runs
    """,
    tenants=ARRAY(Text),
    event_ids=ARRAY(Uuid),
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
    locked = (await connection.execute(_LOCK, _keys([(row.tenant, row.event_id) for row in ended]))).all()
    removed = (
        await connection.execute(_REMOVE, {**_keys([(row.tenant, row.event_id) for row in locked]), "age": age})
    ).one()
    last = ended[-1]
    more = Place(finished_at=last.finished_at, run_id=last.run_id) if len(ended) == most else None
    return Removed(events=removed.events, runs=removed.runs, place=more)


async def remove_leases(connection: AsyncConnection, *, age: float, most: int) -> int:
    """Remove up to ``most`` leases that ended over ``age`` seconds ago; return how many that were."""
    return (await connection.execute(_LEASES, {"age": age, "most": most})).rowcount


def _keys(keys: Sequence[tuple[str, UUID]]) -> dict[str, object]:
    return {"tenants": [tenant for tenant, _ in keys], "event_ids": [event_id for _, event_id in keys]}
