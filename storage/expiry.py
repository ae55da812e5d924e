"""Ending runs that should have begun by now."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer, Text

from events import FailureKind
from storage.sql import typed

# A run that a claim holds this moment begins, or is seen the next time.
_EXPIRE = typed(
    """
    WITH late AS (
        SELECT tenant, run_id FROM runs
        WHERE status = 'queued' AND attempt = 0 AND expires_at IS NOT NULL AND expires_at <= now()
        ORDER BY expires_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
    ), expired AS (
        UPDATE runs r
        SET status = 'failed', failure_kind = :kind, reason = NULL, published_at = NULL, finished_at = now(),
            error = jsonb_build_object('type', 'Expired', 'message', format(
                'it had %s seconds to begin, and did not',
                round(extract(epoch FROM r.expires_at - r.created_at)::numeric, 3)))
        FROM late l WHERE r.tenant = l.tenant AND r.run_id = l.run_id
        RETURNING r.tenant, r.run_id, r.event_id, r.pipeline, r.traceparent
    ), counted AS (
        INSERT INTO run_deltas (tenant, final) SELECT tenant, count(*) FROM expired GROUP BY tenant
    )
    SELECT tenant, run_id, event_id, pipeline, traceparent FROM expired
    """,
    most=Integer(),
    kind=Text(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredRun:
    """A run that failed because it had not begun in time."""

    tenant: str
    run_id: UUID
    event_id: UUID
    pipeline: str
    traceparent: str | None


async def expire_runs(connection: AsyncConnection, *, most: int) -> list[ExpiredRun]:
    """Fail up to ``most`` queued runs whose time to begin is over; none that has begun once."""
    rows = await connection.execute(_EXPIRE, {"most": most, "kind": FailureKind.EXPIRED.value})
    return [ExpiredRun(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping
