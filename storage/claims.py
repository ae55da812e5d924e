"""Claiming runs, and reading what an earlier attempt left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Text, Uuid

from events import Event, NodeStatus
from storage.records import ClaimedRun, NodeResult
from storage.sql import typed

# Rows are locked in the order of their ids, so that two claims of overlapping ids wait and never deadlock. The lease
# is locked too: a rescuer that ends it sees either this claim committed, or makes it find no lease. A run that was sent
# to the cell is not for others, who may still get a message from before.
_CLAIM = typed(
    """
    WITH lease AS (
        SELECT lease_id, worker, cell FROM worker_leases
        WHERE lease_id = :lease_id AND ended_at IS NULL AND expires_at > clock_timestamp()
        FOR KEY SHARE
    ), wanted AS (
        SELECT r.tenant, r.run_id FROM runs r, lease
        WHERE r.tenant = :tenant AND r.run_id = ANY(:run_ids) AND r.status = 'queued' AND r.available_at <= now()
          AND r.cancel_requested_at IS NULL AND (r.home_queue IS NULL OR lease.cell)
        ORDER BY r.run_id
        FOR NO KEY UPDATE OF r
    ), claimed AS (
        UPDATE runs r
        SET status = 'running', reason = NULL, lease_id = lease.lease_id, attempt = r.attempt + 1,
            started_at = coalesce(r.started_at, now()), published_at = NULL
        FROM wanted, lease
        WHERE r.tenant = wanted.tenant AND r.run_id = wanted.run_id
        RETURNING r.tenant, r.run_id, r.event_id, r.pipeline, r.pipeline_version, r.attempt, r.errors, r.deaths,
                  r.traceparent, r.available_at, r.created_at, r.replay_of, r.replay_from
    ), begun AS (
        INSERT INTO attempts (tenant, run_id, attempt, lease_id, worker, task_id, span_id)
        SELECT claimed.tenant, claimed.run_id, claimed.attempt, lease.lease_id, lease.worker, :task_id, span.span_id
        FROM claimed CROSS JOIN lease
        JOIN unnest(:run_ids, :span_ids) AS span(run_id, span_id) USING (run_id)
    )
    SELECT c.run_id, c.pipeline, c.pipeline_version, c.attempt, c.errors, c.deaths, c.traceparent, c.replay_of,
           c.replay_from, extract(epoch FROM now() - c.available_at)::float8 AS queue_wait,
           extract(epoch FROM now() - c.created_at)::float8 AS age,
           e.tenant, e.event_id, e.source, e.ce_id, e.type, e.subject, e.time, e.data, e.received_at,
           e.traceparent AS event_traceparent
    FROM claimed c JOIN events e USING (tenant, event_id)
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
    span_ids=ARRAY(Text),
    task_id=Text(),
    lease_id=Uuid(),
).columns(data=JSONB)

_DONE = typed(
    """
    SELECT run_id, node, item, attempt, status, output, error, started_at, duration_seconds, span_id
    FROM node_results WHERE tenant = :tenant AND run_id = ANY(:run_ids) AND status = 'succeeded'
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
).columns(output=JSONB, error=JSONB)

_DEFER = typed(
    """
    WITH wanted AS (
        SELECT tenant, run_id FROM runs
        WHERE tenant = :tenant AND run_id = ANY(:run_ids) AND status = 'queued'
        ORDER BY run_id FOR NO KEY UPDATE
    )
    UPDATE runs r
    SET reason = coalesce(:reason, r.reason),
        available_at = greatest(r.available_at, now() + make_interval(secs => :delay)),
        publish_at = greatest(r.available_at, now() + make_interval(secs => :delay)), published_at = NULL
    FROM wanted WHERE r.tenant = wanted.tenant AND r.run_id = wanted.run_id
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
    reason=Text(),
    delay=Double(),
)

_RELEASE = typed(
    """
    WITH wanted AS (
        SELECT tenant, run_id FROM runs
        WHERE tenant = :tenant AND run_id = ANY(:run_ids) AND status = 'queued'
        ORDER BY run_id FOR NO KEY UPDATE
    )
    UPDATE runs r SET publish_at = r.available_at, published_at = NULL
    FROM wanted WHERE r.tenant = wanted.tenant AND r.run_id = wanted.run_id
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker asks for: these runs of ``tenant``, under its lease. ``span_ids`` go with ``run_ids`` by place."""

    tenant: str
    run_ids: Sequence[UUID]
    span_ids: Sequence[str | None]
    lease_id: UUID
    task_id: str | None


async def claim_runs(connection: AsyncConnection, claim: Claim) -> list[ClaimedRun]:
    """Move the queued and due ones of the runs to ``running`` under the lease; each gets its next attempt.

    Runs that are done, held by another, cancelled or not due yet are left out, and so is everything when the lease
    has ended: a late or double message claims nothing.
    """
    rows = await connection.execute(
        _CLAIM,
        {
            "tenant": claim.tenant,
            "run_ids": list(claim.run_ids),
            "span_ids": list(claim.span_ids),
            "lease_id": claim.lease_id,
            "task_id": claim.task_id,
        },
    )
    return [
        ClaimedRun(
            run_id=row.run_id,
            event=Event(
                tenant=row.tenant,
                event_id=row.event_id,
                source=row.source,
                ce_id=row.ce_id,
                type=row.type,
                subject=row.subject,
                time=row.time,
                data=row.data,
                received_at=row.received_at,
                traceparent=row.event_traceparent,
            ),
            pipeline=row.pipeline,
            pipeline_version=row.pipeline_version,
            attempt=row.attempt,
            errors=row.errors,
            deaths=row.deaths,
            traceparent=row.traceparent,
            queue_wait=max(row.queue_wait, 0.0),
            age=max(row.age, 0.0),
            replay_of=row.replay_of,
            replay_from=row.replay_from,
        )
        for row in rows
    ]


async def done_nodes(
    connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]
) -> dict[UUID, list[NodeResult]]:
    """Read the succeeded nodes' results of earlier attempts, by run: what a resumed run skips."""
    found: dict[UUID, list[NodeResult]] = {}
    for row in await connection.execute(_DONE, {"tenant": tenant, "run_ids": list(run_ids)}):
        found.setdefault(row.run_id, []).append(node_result(row))
    return found


def node_result(row: Row[Any]) -> NodeResult:
    """Make the record of a ``node_results`` row."""
    return NodeResult(
        node=row.node,
        item=row.item,
        attempt=row.attempt,
        status=NodeStatus(row.status),
        output=row.output,
        error=row.error,
        started_at=row.started_at,
        duration_seconds=row.duration_seconds,
        span_id=row.span_id,
    )


async def defer_runs(
    connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID], delay: float, reason: str
) -> None:
    """Make queued runs due ``delay`` seconds from now, and say why; runs that are not queued are left alone."""
    await connection.execute(_DEFER, {"tenant": tenant, "run_ids": list(run_ids), "delay": delay, "reason": reason})


async def release_runs(connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]) -> None:
    """Let queued runs be published again at once: their message ended here without a claim."""
    await connection.execute(_RELEASE, {"tenant": tenant, "run_ids": list(run_ids)})
