"""What processes that died did last: enough to make again the spans that they took along."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime, Integer, Text, Uuid

from events import AttemptOutcome, NodeStatus
from storage.sql import FEW, typed

AttemptKey = tuple[str, UUID, int]
"""Tenant, run id and attempt."""

_LAST_SIGN = typed(
    "SELECT min(renewed_at) AS at FROM worker_leases WHERE lease_id = ANY(:lease_ids)", lease_ids=ARRAY(Uuid)
)

# Attempts have no index by lease or time: keeping it would cost each run something. What has ended since is found by
# its run, which has ended since, runs again, or is queued again and then not to be published before the attempt's end.
# The time comes as a value: of one that a subquery gives the planner takes a third of all runs to be later.
_ENDED_LATELY = typed(
    """
    WITH RECURSIVE queues AS (
        (SELECT queue FROM runs WHERE status = 'queued' ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT r.queue FROM runs r WHERE r.status = 'queued' AND r.queue > q.queue ORDER BY r.queue LIMIT 1)
        FROM queues q WHERE q.queue IS NOT NULL
    ), touched AS (
        SELECT tenant, run_id FROM runs WHERE status IN ('succeeded', 'cancelled') AND finished_at >= :since
        UNION ALL
        SELECT tenant, run_id FROM runs WHERE status = 'failed' AND finished_at >= :since
        UNION ALL
        SELECT tenant, run_id FROM runs WHERE status = 'running' AND attempt > 1
        UNION ALL
        SELECT r.tenant, r.run_id FROM queues q JOIN runs r ON r.queue = q.queue
        WHERE r.status = 'queued' AND r.publish_at >= :since AND r.attempt > 0
    )
    SELECT a.tenant, a.run_id, a.attempt
    FROM touched t JOIN attempts a ON a.tenant = t.tenant AND a.run_id = t.run_id
    WHERE a.lease_id = ANY(:lease_ids) AND a.finished_at >= :since AND a.span_id IS NOT NULL
    ORDER BY a.finished_at DESC, a.run_id LIMIT :most
    """,
    lease_ids=ARRAY(Uuid),
    since=DateTime(timezone=True),
    most=Integer(),
)

_KEYS = {"tenants": ARRAY(Text), "run_ids": ARRAY(Uuid), "attempts": ARRAY(Integer)}
_ASKED = "unnest(:tenants, :run_ids, :attempts) WITH ORDINALITY AS k(tenant, run_id, attempt, place)"

_ATTEMPTS = typed(
    f"""
    SELECT a.tenant, a.run_id, a.attempt, a.worker, a.task_id, a.span_id, a.started_at, a.finished_at, a.outcome,
           a.error, p.span_id AS previous_span_id, r.event_id, e.type AS event_type, r.pipeline,
           CASE WHEN l.cell THEN r.queue ELSE coalesce(r.home_queue, r.queue) END AS queue,
           coalesce(r.traceparent, e.traceparent) AS traceparent
    FROM {_ASKED}
    JOIN attempts a ON a.tenant = k.tenant AND a.run_id = k.run_id AND a.attempt = k.attempt
    JOIN runs r ON r.tenant = a.tenant AND r.run_id = a.run_id
    JOIN events e ON e.tenant = r.tenant AND e.event_id = r.event_id
    LEFT JOIN attempts p ON p.tenant = a.tenant AND p.run_id = a.run_id AND p.attempt = a.attempt - 1
    LEFT JOIN worker_leases l ON l.lease_id = a.lease_id
    WHERE {FEW} AND a.span_id IS NOT NULL AND a.finished_at IS NOT NULL
    ORDER BY a.task_id, a.run_id, a.attempt
    """,  # noqa: S608 - made of this package's own text; values are parameters
    **_KEYS,
).columns(error=JSONB)

_NODES = typed(
    f"""
    SELECT n.tenant, n.run_id, n.attempt, n.node, n.item, n.status, n.error, n.started_at, n.duration_seconds, n.span_id
    FROM {_ASKED}
    JOIN node_results n ON n.tenant = k.tenant AND n.run_id = k.run_id
    WHERE {FEW} AND n.attempt = k.attempt AND n.span_id IS NOT NULL
    ORDER BY n.started_at
    """,  # noqa: S608 - made of this package's own text; values are parameters
    **_KEYS,
).columns(error=JSONB)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadNode:
    """A committed result of a node, without its output."""

    node: str
    item: int
    status: NodeStatus
    error: dict[str, Any] | None
    started_at: datetime
    duration_seconds: float
    span_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadAttempt:
    """A try that has ended, under a process that died then or soon after, with the nodes that were committed in it.

    ``traceparent`` is what its span is a child of, unless its message is; ``previous_span_id`` is of the try before.
    """

    tenant: str
    run_id: UUID
    attempt: int
    worker: str
    task_id: str | None
    span_id: str
    previous_span_id: str | None
    started_at: datetime
    finished_at: datetime
    outcome: AttemptOutcome
    error: dict[str, Any] | None
    event_id: UUID
    event_type: str
    pipeline: str
    queue: str
    traceparent: str | None
    nodes: list[DeadNode] = field(default_factory=list)


async def ended_lately(
    connection: AsyncConnection, lease_ids: Sequence[UUID], *, reach: float, most: int
) -> list[AttemptKey]:
    """Find up to ``most`` attempts, the latest, that ended later than ``reach`` seconds before the leases' last sign.

    For after a death: it reads what all workers have done since then. Of several leases the earliest last sign counts.
    """
    last = (await connection.execute(_LAST_SIGN, {"lease_ids": list(lease_ids)})).scalar_one()
    if last is None:
        return []
    values = {"lease_ids": list(lease_ids), "since": last - timedelta(seconds=reach), "most": most}
    return [(row.tenant, row.run_id, row.attempt) for row in await connection.execute(_ENDED_LATELY, values)]


async def dead_attempts(connection: AsyncConnection, keys: Sequence[AttemptKey]) -> list[DeadAttempt]:
    """Read attempts that have ended, those of one message together; what is gone meanwhile is left out."""
    values = {
        "tenants": [key[0] for key in keys],
        "run_ids": [key[1] for key in keys],
        "attempts": [key[2] for key in keys],
    }
    found = {
        (row.tenant, row.run_id, row.attempt): DeadAttempt(
            **{**row._mapping, "outcome": AttemptOutcome(row.outcome)}  # noqa: SLF001 - SQLAlchemy's public way
        )
        for row in await connection.execute(_ATTEMPTS, values)
    }
    for row in await connection.execute(_NODES, values):
        if (attempt := found.get((row.tenant, row.run_id, row.attempt))) is not None:
            attempt.nodes.append(_node(row))
    return list(found.values())


def _node(row: Any) -> DeadNode:
    return DeadNode(
        node=row.node,
        item=row.item,
        status=NodeStatus(row.status),
        error=row.error,
        started_at=row.started_at,
        duration_seconds=row.duration_seconds,
        span_id=row.span_id,
    )
