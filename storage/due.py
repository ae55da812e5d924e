"""What the relay asks of the runs: which are due, and where they stand on their way to Redis."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime, Double, Integer, Text, Uuid

from storage.records import DueRun, QueueState
from storage.sql import typed

# A loose index scan: one probe a queue, however many rows are due.
_QUEUES = typed(
    """
    WITH RECURSIVE queues AS (
        (SELECT queue FROM runs WHERE status = 'queued' ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT r.queue FROM runs r WHERE r.status = 'queued' AND r.queue > q.queue ORDER BY r.queue LIMIT 1)
        FROM queues q WHERE q.queue IS NOT NULL
    )
    SELECT queue FROM queues WHERE queue IS NOT NULL
    """
)

_PUBLISHED = typed(
    """
    SELECT count(*) FROM (
        SELECT FROM runs
        WHERE status = 'queued' AND published_at IS NOT NULL AND queue = :queue AND publish_at > now() LIMIT :most
    ) AS window_
    """,
    queue=Text(),
    most=Integer(),
)

_TAKE = typed(
    """
    WITH due AS (
        SELECT tenant, run_id FROM runs
        WHERE status = 'queued' AND queue = :queue AND publish_at <= now()
        ORDER BY publish_at LIMIT :most
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE runs r SET publish_at = now() + make_interval(secs => :lease), published_at = now()
    FROM due WHERE r.tenant = due.tenant AND r.run_id = due.run_id
    RETURNING r.tenant, r.run_id, r.pipeline, r.queue, r.traceparent
    """,
    queue=Text(),
    most=Integer(),
    lease=Double(),
)

_KEEP = typed(
    """
    WITH kept AS (
        SELECT r.tenant, r.run_id FROM runs r
        JOIN unnest(:tenants, :run_ids) AS k(tenant, run_id) USING (tenant, run_id)
        WHERE r.status = 'queued' AND r.published_at IS NOT NULL
        ORDER BY r.run_id FOR NO KEY UPDATE OF r SKIP LOCKED
    )
    UPDATE runs r SET publish_at = now() + make_interval(secs => :seconds)
    FROM kept WHERE r.tenant = kept.tenant AND r.run_id = kept.run_id
    """,
    tenants=ARRAY(Text),
    run_ids=ARRAY(Uuid),
    seconds=Double(),
)

_PUT_BACK = typed(
    """
    WITH back AS (
        SELECT r.tenant, r.run_id FROM runs r
        JOIN unnest(:tenants, :run_ids) AS k(tenant, run_id) USING (tenant, run_id)
        WHERE r.status = 'queued' AND r.published_at IS NOT NULL
        ORDER BY r.run_id FOR NO KEY UPDATE OF r
    )
    UPDATE runs r SET publish_at = now() + make_interval(secs => :seconds), published_at = NULL
    FROM back WHERE r.tenant = back.tenant AND r.run_id = back.run_id
    """,
    tenants=ARRAY(Text),
    run_ids=ARRAY(Uuid),
    seconds=Double(),
)

_REPUBLISH = typed(
    """
    WITH sent AS (
        SELECT tenant, run_id FROM runs
        WHERE status = 'queued' AND published_at IS NOT NULL AND published_at < :before AND publish_at > now()
        ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE runs r SET publish_at = now(), published_at = NULL
    FROM sent WHERE r.tenant = sent.tenant AND r.run_id = sent.run_id
    """,
    before=DateTime(timezone=True),
)

_NEXT = typed(
    """
    SELECT extract(epoch FROM min(publish_at) - clock_timestamp())::float8 AS seconds FROM (
        SELECT (
            SELECT r.publish_at FROM runs r WHERE r.status = 'queued' AND r.queue = q.queue
            ORDER BY r.publish_at LIMIT 1
        ) AS publish_at
        FROM unnest(:queues) AS q(queue)
    ) AS heads
    """,
    queues=ARRAY(Text),
)

_STATE = typed(
    """
    SELECT queue,
           count(*) FILTER (WHERE status = 'queued' AND available_at <= now()) AS due,
           count(*) FILTER (WHERE status = 'queued' AND available_at > now()) AS delayed,
           count(*) FILTER (WHERE status = 'queued' AND published_at IS NOT NULL AND publish_at > now()) AS published,
           count(*) FILTER (WHERE status = 'running') AS running,
           coalesce(extract(epoch FROM now() - min(available_at) FILTER (WHERE status = 'queued')), 0)::float8 AS oldest
    FROM runs WHERE status IN ('queued', 'running') GROUP BY queue
    """
)

_COUNTS = typed(
    """
    SELECT (SELECT count(*) FROM runs WHERE status = 'failed') AS dead,
           (SELECT count(*) FROM events WHERE routes = 0) AS unrouted
    """
)

RunKey = tuple[str, UUID]
"""``(tenant, run_id)``."""


async def queues_with_work(connection: AsyncConnection) -> list[str]:
    """Name the queues that have queued runs, due or not."""
    return [row.queue for row in await connection.execute(_QUEUES)]


async def published_count(connection: AsyncConnection, queue: str, *, most: int) -> int:
    """Count the runs of ``queue`` that are thought to be in Redis, up to ``most``."""
    return int((await connection.execute(_PUBLISHED, {"queue": queue, "most": most})).scalar_one())


async def take_due(connection: AsyncConnection, queue: str, *, most: int, lease: float) -> list[DueRun]:
    """Take up to ``most`` due runs for publishing, oldest first; no relay sees them for ``lease`` seconds."""
    rows = await connection.execute(_TAKE, {"queue": queue, "most": most, "lease": lease})
    return [
        DueRun(
            tenant=row.tenant, run_id=row.run_id, pipeline=row.pipeline, queue=row.queue, traceparent=row.traceparent
        )
        for row in rows
    ]


async def keep_published(connection: AsyncConnection, keys: Sequence[RunKey], *, seconds: float) -> None:
    """Leave runs that were sent and not claimed yet alone for ``seconds`` more."""
    await connection.execute(_KEEP, _keyed(keys, seconds))


async def put_back(connection: AsyncConnection, keys: Sequence[RunKey], *, seconds: float) -> None:
    """Make taken runs that could not be sent due for publishing ``seconds`` from now."""
    await connection.execute(_PUT_BACK, _keyed(keys, seconds))


async def republish_window(connection: AsyncConnection, *, before: datetime) -> int:
    """Make everything that was published before ``before`` and not claimed due for publishing; return how many."""
    return (await connection.execute(_REPUBLISH, {"before": before})).rowcount


async def seconds_to_next(connection: AsyncConnection, queues: Sequence[str]) -> float | None:
    """Tell in how many seconds something is to be published; negative when it is late, None without any."""
    value: float | None = (await connection.execute(_NEXT, {"queues": list(queues)})).scalar_one()
    return value


async def queue_states(connection: AsyncConnection) -> list[QueueState]:
    """Tell where each queue stands."""
    return [
        QueueState(
            queue=row.queue,
            due=row.due,
            delayed=row.delayed,
            published=row.published,
            running=row.running,
            oldest_age=max(row.oldest, 0.0),
        )
        for row in await connection.execute(_STATE)
    ]


async def standing_counts(connection: AsyncConnection) -> tuple[int, int]:
    """Count the dead runs and the unrouted events."""
    row = (await connection.execute(_COUNTS)).one()
    return row.dead, row.unrouted


def _keyed(keys: Sequence[RunKey], seconds: float) -> dict[str, object]:
    return {"tenants": [tenant for tenant, _ in keys], "run_ids": [run_id for _, run_id in keys], "seconds": seconds}
