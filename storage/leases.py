"""The leases of worker processes, and what happens to their runs when one ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Boolean, Double, Integer, Text, TypeEngine, Uuid

from events import AttemptOutcome, FailureKind, QueueReason
from settings import WorkerSettings
from storage.deaths import UNSEEN, Death
from storage.sql import typed

_OPEN = typed(
    """
    INSERT INTO worker_leases (lease_id, worker, cell, expires_at)
    VALUES (:lease_id, :worker, :cell, now() + make_interval(secs => :seconds))
    """,
    lease_id=Uuid(),
    worker=Text(),
    cell=Boolean(),
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

# A claim in mid-flight holds its lease with FOR KEY SHARE, which FOR UPDATE waits for and an UPDATE alone would not:
# whoever ends a lease does so after that claim is committed, so that free_runs sees it.
_END = typed(
    """
    WITH held AS (
        SELECT tenant, lease_id FROM worker_leases WHERE lease_id = :lease_id AND ended_at IS NULL FOR UPDATE
    )
    UPDATE worker_leases l SET ended_at = now() FROM held
    WHERE l.tenant = held.tenant AND l.lease_id = held.lease_id
    """,
    lease_id=Uuid(),
)

# Only one rescuer at a time ends a lease; one that a claim holds is passed over until that is committed.
_END_EXPIRED = typed(
    """
    WITH expired AS (
        SELECT tenant, lease_id FROM worker_leases
        WHERE ended_at IS NULL AND expires_at < now()
        ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    UPDATE worker_leases l SET ended_at = now() FROM expired
    WHERE l.tenant = expired.tenant AND l.lease_id = expired.lease_id
    RETURNING l.lease_id, l.worker, l.renewed_at + (l.expires_at - l.renewed_at) / 2 AS dead_by
    """,
    most=Integer(),
)

# What becomes of a run is judged on the row as it is locked. Deaths count against a run only where it was alone, by
# their own doing or too often; the second one anywhere moves it there.
_FREE = """
    WITH left_behind AS (
        SELECT r.tenant, r.run_id, r.lease_id, r.queue, l.worker, r.deaths + :died AS deaths,
               r.cell_deaths + (alone.deaths > 0 AND :own > 0)::int AS cell_deaths, alone.deaths AS alone,
               r.cancel_requested_at IS NOT NULL AS cancelled,
               r.cancel_requested_at IS NULL AND alone.deaths > 0
                   AND (r.cell_deaths + :own >= :cell_deaths
                        OR alone.deaths - r.cell_deaths - :own >= :cell_unexplained) AS poisoned,
               r.cancel_requested_at IS NULL AND :died > 0 AND r.home_queue IS NULL
                   AND r.deaths + 1 >= :free_deaths AS isolated
        FROM runs r LEFT JOIN worker_leases l ON l.lease_id = r.lease_id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN :died > 0 AND l.cell THEN 1 + (
                SELECT count(*) FROM attempts a JOIN worker_leases c ON c.lease_id = a.lease_id
                WHERE a.tenant = r.tenant AND a.run_id = r.run_id AND a.outcome = 'lost' AND c.cell
            ) ELSE 0 END AS deaths
        ) alone
        WHERE r.status = 'running' AND r.lease_id = ANY(:lease_ids)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r {locked}
    ), freed AS (
        UPDATE runs r
        SET status = CASE WHEN b.cancelled THEN 'cancelled' WHEN b.poisoned THEN 'failed' ELSE 'queued' END,
            reason = CASE WHEN b.cancelled OR b.poisoned THEN NULL WHEN b.isolated THEN :isolated ELSE :reason END,
            queue = CASE WHEN b.isolated AND NOT b.poisoned THEN :cell_queue ELSE r.queue END,
            home_queue = CASE WHEN b.isolated AND NOT b.poisoned THEN r.queue ELSE r.home_queue END,
            lease_id = NULL, deaths = b.deaths, cell_deaths = b.cell_deaths,
            available_at = now(), publish_at = now(), published_at = NULL,
            finished_at = CASE WHEN b.cancelled OR b.poisoned THEN now() END,
            failure_kind = CASE WHEN b.poisoned THEN :poisoned END,
            error = CASE WHEN b.poisoned THEN jsonb_build_object('type', 'Poisoned', 'message', format(
                'its worker process died under it %s times, %s of them while it ran alone in the cell; '
                'the last, %s, %s', b.deaths, b.alone, b.worker, :how)) ELSE r.error END
        FROM left_behind b WHERE r.tenant = b.tenant AND r.run_id = b.run_id
        RETURNING r.tenant, r.run_id, r.event_id, r.attempt, r.pipeline, b.lease_id, r.traceparent, r.deaths,
                  b.cancelled, b.poisoned, b.isolated AND NOT b.poisoned AS isolated
    ), ended AS (
        INSERT INTO run_deltas (tenant, final)
        SELECT tenant, count(*) FROM freed WHERE cancelled OR poisoned GROUP BY tenant ORDER BY tenant
    ), closed AS (
        UPDATE attempts a
        SET finished_at = now(), outcome = CASE WHEN freed.cancelled AND :died = 0 THEN 'cancelled' ELSE :outcome END,
            error = CASE WHEN :died > 0 THEN jsonb_build_object('type', :error, 'message', 'its process ' || :how) END
        FROM freed WHERE a.tenant = freed.tenant AND a.run_id = freed.run_id AND a.attempt = freed.attempt
    )
    SELECT tenant, run_id, event_id, attempt, pipeline, lease_id, traceparent, deaths, cancelled, isolated, poisoned
    FROM freed
"""
_FREE_TYPES: dict[str, TypeEngine[Any]] = {
    "lease_ids": ARRAY(Uuid),
    "reason": Text(),
    "isolated": Text(),
    "poisoned": Text(),
    "outcome": Text(),
    "died": Integer(),
    "own": Integer(),
    "how": Text(),
    "error": Text(),
    "free_deaths": Integer(),
    "cell_deaths": Integer(),
    "cell_unexplained": Integer(),
    "cell_queue": Text(),
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


FREE_DEATHS: Final = 2
"""So many processes may end under a run before it is run alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Where runs go that may have killed their process: ``queue``.

    After ``deaths`` there by its process's own doing, or ``unexplained`` others, a run is poisoned.
    """

    queue: str = "cell"
    deaths: int = 2
    unexplained: int = 10

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """Return it as it is set."""
        return cls(queue=settings.cell_queue, deaths=settings.cell_deaths, unexplained=settings.cell_unexplained_deaths)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedLease:
    """A lease that was not renewed. ``dead_by``: its worker, which renews more often than that, was gone by then."""

    lease_id: UUID
    worker: str
    dead_by: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedRun:
    """A run that lost its worker and is queued again, in the cell's queue if ``isolated``.

    Or it ended: ``poisoned``, or ``cancelled`` where somebody had asked for it. ``attempt`` is the one that ended,
    ``lease_id`` the lease it ran under.
    """

    tenant: str
    run_id: UUID
    event_id: UUID
    attempt: int
    pipeline: str
    lease_id: UUID
    traceparent: str | None
    deaths: int
    cancelled: bool
    isolated: bool
    poisoned: bool


async def open_lease(
    connection: AsyncConnection, *, lease_id: UUID, worker: str, seconds: float, cell: bool = False
) -> None:
    """Begin the lease of a worker process that boots; ``cell``: it runs one suspect at a time."""
    await connection.execute(_OPEN, {"lease_id": lease_id, "worker": worker, "seconds": seconds, "cell": cell})


async def renew_lease(connection: AsyncConnection, *, lease_id: UUID, seconds: float) -> bool:
    """Extend the lease to ``seconds`` from now; False when it has ended, and with it every claim under it."""
    result = await connection.execute(_RENEW, {"lease_id": lease_id, "seconds": seconds})
    return result.rowcount == 1


async def end_lease(connection: AsyncConnection, lease_id: UUID) -> None:
    """End the lease of a process that stops; its runs are to be freed in another transaction after this one."""
    await connection.execute(_END, {"lease_id": lease_id})


async def end_expired_leases(connection: AsyncConnection, *, most: int = 100) -> list[EndedLease]:
    """End leases that were not renewed in time. Free their runs after the commit."""
    rows = await connection.execute(_END_EXPIRED, {"most": most})
    return [EndedLease(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


async def orphaned_leases(connection: AsyncConnection, *, grace: float = 0.0) -> list[UUID]:
    """Find leases that ended over ``grace`` seconds ago and that running runs still point to.

    A worker that stops ends its lease and then hands its runs back: ``grace`` leaves it the time.
    """
    return [row.lease_id for row in await connection.execute(_ORPHANED, {"grace": grace})]


async def free_runs(
    connection: AsyncConnection,
    lease_ids: Sequence[UUID],
    *,
    died: bool,
    death: Death = UNSEEN,
    cell: Cell | None = None,
    wait: bool = False,
) -> list[FreedRun]:
    """Queue the runs of ended leases again, due at once; ``died`` counts a ``death`` for each of them.

    After its first death a run goes anywhere, after the second into the cell. A death there by the process's own doing
    has one possible cause: after ``cell.deaths`` of them the run is failed as poisoned. A run that was asked to end is
    cancelled. A run whose row is locked, by a write of its last holder, is passed over unless ``wait``.
    """
    cell = cell or Cell()
    rows = await connection.execute(
        _FREE_ALL if wait else _FREE_UNLOCKED,
        {
            "lease_ids": list(lease_ids),
            "reason": (QueueReason.RESCUED if died else QueueReason.HANDED_BACK).value,
            "isolated": QueueReason.ISOLATED.value,
            "poisoned": FailureKind.POISONED.value,
            "outcome": (AttemptOutcome.LOST if died else AttemptOutcome.HANDED_BACK).value,
            "died": int(died),
            "own": int(died and death.own),
            "how": death.how,
            "error": "ProcessDied" if death.seen else "Unexplained",
            "free_deaths": FREE_DEATHS,
            "cell_deaths": cell.deaths,
            "cell_unexplained": cell.unexplained,
            "cell_queue": cell.queue,
        },
    )
    return [FreedRun(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


async def server_uptime(connection: AsyncConnection) -> float:
    """Tell for how many seconds PostgreSQL has been up."""
    return float((await connection.execute(_UPTIME)).scalar_one())
