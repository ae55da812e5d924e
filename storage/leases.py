"""The leases of worker processes, and what happens to their runs when one ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Integer, Text, TypeEngine, Uuid

from events import AttemptOutcome, QueueReason
from storage.sql import typed

_OPEN = typed(
    """
    INSERT INTO worker_leases (lease_id, worker, expires_at)
    VALUES (:lease_id, :worker, now() + make_interval(secs => :seconds))
    """,
    lease_id=Uuid(),
    worker=Text(),
    seconds=Double(),
)

_RENEW = typed(
    """
    UPDATE worker_leases SET renewed_at = now(), expires_at = now() + make_interval(secs => :seconds)
    WHERE lease_id = :lease_id AND ended_at IS NULL
    """,
    lease_id=Uuid(),
    seconds=Double(),
)

_END = typed(
    "UPDATE worker_leases SET ended_at = now() WHERE lease_id = :lease_id AND ended_at IS NULL", lease_id=Uuid()
)

# Only one rescuer at a time ends a lease. A claim in mid-flight holds it with FOR KEY SHARE: the lease is passed over
# until that claim is committed, so that free_runs sees it.
_END_EXPIRED = typed(
    """
    WITH expired AS (
        SELECT tenant, lease_id FROM worker_leases
        WHERE ended_at IS NULL AND expires_at < now()
        ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    UPDATE worker_leases l SET ended_at = now() FROM expired
    WHERE l.tenant = expired.tenant AND l.lease_id = expired.lease_id
    RETURNING l.lease_id, l.worker
    """,
    most=Integer(),
)

_FREE = """
    WITH left_behind AS (
        SELECT r.tenant, r.run_id, r.lease_id FROM runs r
        WHERE r.status = 'running' AND r.lease_id = ANY(:lease_ids)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r {locked}
    ), freed AS (
        UPDATE runs r
        SET status = 'queued', reason = :reason, lease_id = NULL, deaths = r.deaths + :died,
            available_at = now(), publish_at = now(), published_at = NULL
        FROM left_behind b WHERE r.tenant = b.tenant AND r.run_id = b.run_id
        RETURNING r.tenant, r.run_id, r.event_id, r.attempt, r.pipeline, r.queue, b.lease_id, r.traceparent
    ), closed AS (
        UPDATE attempts a SET finished_at = now(), outcome = :outcome
        FROM freed WHERE a.tenant = freed.tenant AND a.run_id = freed.run_id AND a.attempt = freed.attempt
        RETURNING a.tenant, a.run_id, a.span_id, a.started_at, a.finished_at
    )
    SELECT f.tenant, f.run_id, f.event_id, e.type AS event_type, f.attempt, f.pipeline, f.queue, f.lease_id,
           f.traceparent, c.span_id, c.started_at, c.finished_at
    FROM freed f
    JOIN events e ON e.tenant = f.tenant AND e.event_id = f.event_id
    LEFT JOIN closed c ON c.tenant = f.tenant AND c.run_id = f.run_id
"""
_FREE_TYPES: dict[str, TypeEngine[Any]] = {
    "lease_ids": ARRAY(Uuid),
    "reason": Text(),
    "outcome": Text(),
    "died": Integer(),
}
_FREE_UNLOCKED = typed(_FREE.format(locked="SKIP LOCKED"), **_FREE_TYPES)
_FREE_ALL = typed(_FREE.format(locked=""), **_FREE_TYPES)

_ORPHANED = typed(
    """
    SELECT DISTINCT r.lease_id FROM runs r
    LEFT JOIN worker_leases l USING (lease_id)
    WHERE r.status = 'running'
      AND (l.lease_id IS NULL OR l.ended_at < now() - make_interval(secs => :grace))
    """,
    grace=Double(),
)

_UPTIME = typed("SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float8 AS uptime")


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedRun:
    """A run that lost its worker and is queued again.

    ``attempt`` is the one that ended, and what else there is of it: the lease it ran under, the span whose id its claim
    stored, and its times, which are empty where the attempt's row is gone.
    """

    tenant: str
    run_id: UUID
    event_id: UUID
    event_type: str
    attempt: int
    pipeline: str
    queue: str
    lease_id: UUID
    traceparent: str | None
    span_id: str | None
    started_at: datetime | None
    finished_at: datetime | None


async def open_lease(connection: AsyncConnection, *, lease_id: UUID, worker: str, seconds: float) -> None:
    """Begin the lease of a worker process that boots."""
    await connection.execute(_OPEN, {"lease_id": lease_id, "worker": worker, "seconds": seconds})


async def renew_lease(connection: AsyncConnection, *, lease_id: UUID, seconds: float) -> bool:
    """Extend the lease to ``seconds`` from now; False when it has ended, and with it every claim under it."""
    result = await connection.execute(_RENEW, {"lease_id": lease_id, "seconds": seconds})
    return result.rowcount == 1


async def end_lease(connection: AsyncConnection, lease_id: UUID) -> None:
    """End the lease of a process that stops; its runs are to be freed in another transaction after this one."""
    await connection.execute(_END, {"lease_id": lease_id})


async def end_expired_leases(connection: AsyncConnection, *, most: int = 100) -> dict[UUID, str]:
    """End leases that were not renewed in time; answer with the worker of each. Free their runs after the commit."""
    return {row.lease_id: row.worker for row in await connection.execute(_END_EXPIRED, {"most": most})}


async def orphaned_leases(connection: AsyncConnection, *, grace: float = 0.0) -> list[UUID]:
    """Find leases that ended over ``grace`` seconds ago and that running runs still point to.

    A worker that stops ends its lease and then hands its runs back: ``grace`` leaves it the time.
    """
    return [row.lease_id for row in await connection.execute(_ORPHANED, {"grace": grace})]


async def free_runs(
    connection: AsyncConnection, lease_ids: Sequence[UUID], *, died: bool, wait: bool = False
) -> list[FreedRun]:
    """Queue the runs of ended leases again, due at once; ``died`` counts a death for each of them.

    A run whose row is locked, by a write of its last holder, is passed over unless ``wait``.
    """
    rows = await connection.execute(
        _FREE_ALL if wait else _FREE_UNLOCKED,
        {
            "lease_ids": list(lease_ids),
            "reason": (QueueReason.RESCUED if died else QueueReason.HANDED_BACK).value,
            "outcome": (AttemptOutcome.LOST if died else AttemptOutcome.HANDED_BACK).value,
            "died": int(died),
        },
    )
    return [FreedRun(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


async def server_uptime(connection: AsyncConnection) -> float:
    """Tell for how many seconds PostgreSQL has been up."""
    return float((await connection.execute(_UPTIME)).scalar_one())
