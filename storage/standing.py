"""Where the queues stand, and what waits for somebody: counts for the gauges."""

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import QueueState
from storage.sql import typed

# Each half has a partial index of its own; together they would cost a look at every run there ever was.
_STATE = typed(
    """
    SELECT queue,
           count(*) FILTER (WHERE status = 'queued' AND available_at <= now() AND NOT limited) AS due,
           count(*) FILTER (WHERE status = 'queued' AND available_at <= now() AND limited) AS limited,
           count(*) FILTER (WHERE status = 'queued' AND available_at > now()) AS delayed,
           count(*) FILTER (WHERE status = 'queued' AND published_at IS NOT NULL AND publish_at > now()) AS published,
           count(*) FILTER (WHERE status = 'running') AS running,
           count(*) FILTER (WHERE reason = 'waiting' AND available_at > now()) AS waiting,
           count(*) FILTER (WHERE reason = 'sleeping' AND available_at > now()) AS sleeping,
           coalesce(extract(epoch FROM now() - min(since) FILTER (WHERE status = 'queued' AND NOT limited)), 0)::float8
               AS oldest
    FROM (
        SELECT queue, status, reason, available_at, published_at, publish_at,
               lane IS NOT NULL AND admitted_at IS NULL AS limited, greatest(available_at, admitted_at) AS since
        FROM runs WHERE status = 'queued'
        UNION ALL
        SELECT queue, status, reason, available_at, published_at, publish_at, false, available_at
        FROM runs WHERE status = 'running'
    ) AS open GROUP BY queue
    """
)

_COUNTS = typed(
    """
    SELECT (SELECT count(*) FROM runs r WHERE status = 'failed' AND NOT EXISTS (
                SELECT FROM runs n WHERE n.tenant = r.tenant AND n.event_id = r.event_id AND n.replay_of = r.run_id
            )) AS dead,
           (SELECT count(*) FROM events e WHERE routes = 0 AND NOT EXISTS (
                SELECT FROM runs n WHERE n.tenant = e.tenant AND n.event_id = e.event_id
            )) AS unrouted
    """
)


async def queue_states(connection: AsyncConnection) -> list[QueueState]:
    """Tell where each queue stands."""
    return [
        QueueState(
            queue=row.queue,
            due=row.due,
            limited=row.limited,
            delayed=row.delayed,
            published=row.published,
            running=row.running,
            waiting=row.waiting,
            sleeping=row.sleeping,
            oldest_age=max(row.oldest, 0.0),
        )
        for row in await connection.execute(_STATE)
    ]


async def standing_counts(connection: AsyncConnection) -> tuple[int, int]:
    """Count the dead runs and the unrouted events that nobody has replayed."""
    row = (await connection.execute(_COUNTS)).one()
    return row.dead, row.unrouted
