"""Asking runs to end, and telling the worker that holds one."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text, Uuid

from events import RunStatus
from storage.sql import typed

# Judged on the rows as they are locked: a run that a worker has claimed meanwhile is asked, not ended.
_REQUEST = typed(
    """
    WITH wanted AS (
        SELECT tenant, run_id FROM runs
        WHERE tenant = :tenant AND run_id = ANY(:run_ids) AND status IN ('queued', 'running')
        ORDER BY run_id FOR NO KEY UPDATE
    ), asked AS (
        UPDATE runs r
        SET status = CASE r.status WHEN 'queued' THEN 'cancelled' ELSE r.status END,
            reason = CASE r.status WHEN 'queued' THEN NULL ELSE r.reason END,
            finished_at = CASE r.status WHEN 'queued' THEN now() END,
            published_at = CASE r.status WHEN 'queued' THEN NULL ELSE r.published_at END,
            cancel_requested_at = coalesce(r.cancel_requested_at, now()),
            cancel_reason = CASE WHEN r.cancel_requested_at IS NULL THEN :reason ELSE r.cancel_reason END
        FROM wanted WHERE r.tenant = wanted.tenant AND r.run_id = wanted.run_id
        RETURNING r.tenant, r.run_id, r.status
    ), counted AS (
        INSERT INTO run_deltas (tenant, final)
        SELECT tenant, count(*) FROM asked WHERE status = 'cancelled' GROUP BY tenant
    )
    SELECT run_id, status FROM asked
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
    reason=Text(),
)

_REQUESTED = typed(
    """
    SELECT run_id, attempt, cancel_reason FROM runs
    WHERE status = 'running' AND cancel_requested_at IS NOT NULL AND lease_id = :lease_id
    """,
    lease_id=Uuid(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedCancel:
    """A run under way that is to end."""

    run_id: UUID
    attempt: int
    reason: str | None


async def request_cancel(
    connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID], reason: str | None
) -> dict[UUID, RunStatus]:
    """End queued runs as cancelled, and ask the workers of running ones to end theirs.

    Answers with the status that each has now; final and unknown runs are left out. Of several requests for one run the
    first one's reason stands.
    """
    rows = await connection.execute(_REQUEST, {"tenant": tenant, "run_ids": list(run_ids), "reason": reason})
    return {row.run_id: RunStatus(row.status) for row in rows}


async def requested_cancels(connection: AsyncConnection, lease_id: UUID) -> list[RequestedCancel]:
    """List the runs under the lease that are to end: one probe of a small index, however many runs there are."""
    rows = await connection.execute(_REQUESTED, {"lease_id": lease_id})
    return [RequestedCancel(run_id=row.run_id, attempt=row.attempt, reason=row.cancel_reason) for row in rows]
