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
from storage.policies import UNPUBLISHED, limits_of
from storage.records import ClaimedRun, NodeResult
from storage.sql import FEW, typed

# The status to be found comes from a row, not as a constant: of a constant the planner can tell that it fits the
# partial indexes of what is queued, and would read the backlog for each claim.
# Rows are locked in the order of their ids, so that two claims of overlapping ids wait and never deadlock. The lease
# is locked too: a rescuer that ends it sees either this claim committed, or makes it find no lease. A run that was sent
# to the cell is not for others, who may still get a message from before; nor does a message from before start one that
# has lost its permits since, or that should have begun by now.
_CLAIM = typed(
    f"""
    WITH lease AS (
        SELECT lease_id, worker, cell, 'queued' AS sought FROM worker_leases
        WHERE lease_id = :lease_id AND ended_at IS NULL AND expires_at > clock_timestamp()
        FOR KEY SHARE
    ), wanted AS (
        SELECT r.tenant, r.run_id, asked.span_id, asked.task_id
        FROM lease CROSS JOIN unnest(:tenants, :run_ids, :span_ids, :task_ids) WITH ORDINALITY
            AS asked(tenant, run_id, span_id, task_id, place)
        JOIN runs r ON r.tenant = asked.tenant AND r.run_id = asked.run_id AND r.status = lease.sought
        WHERE {FEW} AND r.available_at <= now() AND r.cancel_requested_at IS NULL
          AND (r.home_queue IS NULL OR lease.cell) AND (r.lane IS NULL OR r.admitted_at IS NOT NULL)
          AND (r.expires_at IS NULL OR r.attempt > 0 OR r.expires_at > now())
        ORDER BY r.run_id
        FOR NO KEY UPDATE OF r
    ), claimed AS (
        UPDATE runs r
        SET status = 'running', reason = NULL, lease_id = lease.lease_id, attempt = r.attempt + 1,
            started_at = coalesce(r.started_at, now()), published_at = NULL
        FROM wanted, lease
        WHERE r.tenant = wanted.tenant AND r.run_id = wanted.run_id
        RETURNING r.tenant, r.run_id, r.event_id, r.pipeline, r.pipeline_version, r.accepted_version, r.attempt,
                  r.errors, r.deaths, r.traceparent, greatest(r.available_at, r.admitted_at) AS available_at,
                  r.created_at, r.replay_of, r.replay_from, r.limits,
                  wanted.span_id, wanted.task_id
    ), begun AS (
        INSERT INTO attempts (tenant, run_id, attempt, lease_id, worker, task_id, span_id)
        SELECT claimed.tenant, claimed.run_id, claimed.attempt, lease.lease_id, lease.worker, claimed.task_id,
               claimed.span_id
        FROM claimed CROSS JOIN lease
    )
    SELECT c.run_id, c.pipeline, c.pipeline_version, c.accepted_version, c.attempt, c.errors, c.deaths, c.traceparent,
           c.replay_of, c.replay_from, c.limits, extract(epoch FROM now() - c.available_at)::float8 AS queue_wait,
           extract(epoch FROM now() - c.created_at)::float8 AS age,
           e.tenant, e.event_id, e.source, e.ce_id, e.type, e.subject, e.time, e.data, e.received_at,
           e.traceparent AS event_traceparent
    FROM claimed c JOIN events e USING (tenant, event_id)
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenants=ARRAY(Text),
    run_ids=ARRAY(Uuid),
    span_ids=ARRAY(Text),
    task_ids=ARRAY(Text),
    lease_id=Uuid(),
).columns(data=JSONB, limits=JSONB)

# A branch that was given up has failed, and has an output that says so.
_DONE = typed(
    """
    SELECT run_id, node, item, attempt, status, output, error, started_at, duration_seconds, span_id
    FROM node_results
    WHERE tenant = :tenant AND run_id = ANY(:run_ids)
      AND (status IN ('succeeded', 'stopped') OR (status = 'failed' AND output IS NOT NULL))
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
).columns(output=JSONB, error=JSONB)

_DEFER = typed(
    f"""
    WITH wanted AS (
        SELECT r.tenant, r.run_id
        FROM unnest(:run_ids) WITH ORDINALITY AS asked(run_id, place)
        JOIN runs r ON r.tenant = :tenant AND r.run_id = asked.run_id
        WHERE {FEW} AND (r.status = 'queued') = (place > 0)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r
    )
    UPDATE runs r
    SET reason = coalesce(:reason, r.reason),
        available_at = greatest(r.available_at, now() + make_interval(secs => :delay)),
        publish_at = CASE WHEN r.lane IS NULL THEN greatest(r.available_at, now() + make_interval(secs => :delay))
                          ELSE {UNPUBLISHED} END,
        admitted_at = NULL, published_at = NULL
    FROM wanted WHERE r.tenant = wanted.tenant AND r.run_id = wanted.run_id
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenant=Text(),
    run_ids=ARRAY(Uuid),
    reason=Text(),
    delay=Double(),
)

_RELEASE = typed(
    f"""
    WITH wanted AS (
        SELECT r.tenant, r.run_id
        FROM unnest(:run_ids) WITH ORDINALITY AS asked(run_id, place)
        JOIN runs r ON r.tenant = :tenant AND r.run_id = asked.run_id
        WHERE {FEW} AND (r.status = 'queued') = (place > 0)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r
    )
    UPDATE runs r SET publish_at = CASE WHEN r.publish_at = {UNPUBLISHED} THEN r.publish_at ELSE r.available_at END,
        published_at = NULL
    FROM wanted WHERE r.tenant = wanted.tenant AND r.run_id = wanted.run_id
    """,  # noqa: S608 - made of this package's own text; values are parameters
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
    (claimed,) = await claim_together(connection, [claim])
    return claimed


async def claim_together(connection: AsyncConnection, claims: Sequence[Claim]) -> list[list[ClaimedRun]]:
    """Make several claims under one lease, as ``claim_runs`` makes one; a run that two of them name goes to the first.

    Raises:
        ValueError: their leases differ.

    """
    if len({claim.lease_id for claim in claims}) != 1:
        raise ValueError("claims of one statement are made under one lease")
    asked: dict[tuple[str, UUID], tuple[int, str | None]] = {}
    for place, claim in enumerate(claims):
        for run_id, span_id in zip(claim.run_ids, claim.span_ids, strict=True):
            asked.setdefault((claim.tenant, run_id), (place, span_id))
    rows = await connection.execute(
        _CLAIM,
        {
            "tenants": [tenant for tenant, _ in asked],
            "run_ids": [run_id for _, run_id in asked],
            "span_ids": [span_id for _, span_id in asked.values()],
            "task_ids": [claims[place].task_id for place, _ in asked.values()],
            "lease_id": claims[0].lease_id,
        },
    )
    claimed: list[list[ClaimedRun]] = [[] for _ in claims]
    for row in rows:
        claimed[asked[row.tenant, row.run_id][0]].append(_claimed_run(row))
    return claimed


def _claimed_run(row: Row[Any]) -> ClaimedRun:
    return ClaimedRun(
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
        accepted_version=row.accepted_version,
        attempt=row.attempt,
        errors=row.errors,
        deaths=row.deaths,
        traceparent=row.traceparent,
        queue_wait=max(row.queue_wait, 0.0),
        age=max(row.age, 0.0),
        replay_of=row.replay_of,
        replay_from=row.replay_from,
        limits=limits_of(row.limits),
    )


async def done_nodes(
    connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]
) -> dict[UUID, list[NodeResult]]:
    """Read what nodes that are done came to in earlier attempts, by run: what a resumed run skips."""
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
