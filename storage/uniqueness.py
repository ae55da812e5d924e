"""Letting one run of a key at a time through, and ending those that come meanwhile."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer

from storage.sql import typed

# Two probes a run, however many of its key there are: for the one that was let through, and for the first that was
# made. A run that was let through stays so until it ends, also while it waits for another try.
_SETTLE = typed(
    """
    WITH new AS (
        SELECT tenant, run_id, pipeline, unique_key FROM runs
        WHERE status = 'queued' AND unique_key IS NOT NULL AND unique_since IS NULL AND available_at <= now()
        ORDER BY available_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
    ), judged AS (
        SELECT n.tenant, n.run_id, coalesce(holder.run_id, nullif(first.run_id, n.run_id)) AS other
        FROM new n
        LEFT JOIN LATERAL (
            SELECT o.run_id FROM runs o
            WHERE o.status IN ('queued', 'running') AND o.unique_since IS NOT NULL
              AND o.tenant = n.tenant AND o.pipeline = n.pipeline AND o.unique_key = n.unique_key LIMIT 1
        ) AS holder ON true
        LEFT JOIN LATERAL (
            SELECT o.run_id FROM runs o
            WHERE o.status IN ('queued', 'running') AND o.unique_key IS NOT NULL
              AND o.tenant = n.tenant AND o.pipeline = n.pipeline AND o.unique_key = n.unique_key
            ORDER BY o.run_id LIMIT 1
        ) AS first ON true
    ), settled AS (
        UPDATE runs r
        SET unique_since = CASE WHEN j.other IS NULL THEN now() END,
            publish_at = CASE WHEN j.other IS NULL AND r.lane IS NULL THEN now() ELSE r.publish_at END,
            status = CASE WHEN j.other IS NULL THEN r.status ELSE 'cancelled' END,
            reason = CASE WHEN j.other IS NULL THEN r.reason END,
            finished_at = CASE WHEN j.other IS NOT NULL THEN now() END,
            cancel_reason = 'superseded: run ' || j.other || ' has the same key and has not ended'
        FROM judged j WHERE r.tenant = j.tenant AND r.run_id = j.run_id
        RETURNING r.tenant, r.run_id, r.event_id, r.pipeline, r.traceparent, j.other
    ), counted AS (
        INSERT INTO run_deltas (tenant, final)
        SELECT tenant, count(*) FROM settled WHERE other IS NOT NULL GROUP BY tenant
    )
    SELECT tenant, run_id, event_id, pipeline, traceparent, other FROM settled
    """,
    most=Integer(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """A run that was cancelled because ``other``, of the same key, has not ended."""

    tenant: str
    run_id: UUID
    event_id: UUID
    pipeline: str
    traceparent: str | None
    other: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How many runs were looked at, and those of them that were cancelled; the others were let through."""

    looked_at: int
    superseded: tuple[Superseded, ...]


async def settle_keys(connection: AsyncConnection, *, most: int) -> Settled:
    """Let up to ``most`` due runs through that are the only ones of their key, and cancel those that are not.

    Of several that nobody was let through of yet it is the first made. The caller has the turn of admission, so that
    no two are let through at once.
    """
    rows = (await connection.execute(_SETTLE, {"most": most})).all()
    found = tuple(Superseded(**row._mapping) for row in rows if row.other is not None)  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping
    return Settled(looked_at=len(rows), superseded=found)
