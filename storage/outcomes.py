"""Writing what runs came to, many in one statement, each guarded by its attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime, Double, Integer, Text, TypeEngine, Uuid

from events import AttemptOutcome, FailureKind, QueueReason, RunStatus
from storage.limit_writes import LIMIT_TYPES, NEW_LIMITS, NO_LIMITS, LimitsWrite, limit_columns
from storage.policies import UNPUBLISHED
from storage.records import NodeResult
from storage.sql import FEW, typed
from storage.wait_writes import BEGIN_WAITS, WAIT_TYPES, WaitWrite, wait_columns

_TEXTS = ARRAY(Text)
_UUIDS = ARRAY(Uuid)
_INTEGERS = ARRAY(Integer)

_NODE_TYPES = {
    "n_tenants": _TEXTS,
    "n_run_ids": _UUIDS,
    "n_attempts": _INTEGERS,
    "n_nodes": _TEXTS,
    "n_items": _INTEGERS,
    "n_statuses": _TEXTS,
    "n_outputs": _TEXTS,
    "n_errors": _TEXTS,
    "n_started": ARRAY(DateTime(timezone=True)),
    "n_durations": ARRAY(Double),
    "n_span_ids": _TEXTS,
}

# A node that is done stays as it is: what comes later for it is a repetition. The rows go in in the order of their key:
# a stop writes what a checkpoint under way may hold as well, and the two must wait for each other, not deadlock.
# What is held is looked up as a set in memory; a join would become a loop in a loop where the planner expects few rows.
_WRITE_NODES = """
        INSERT INTO node_results
            (tenant, run_id, attempt, node, item, status, output, error, started_at, duration_seconds, span_id)
        SELECT n.tenant, n.run_id, n.attempt, n.node, n.item, n.status, n.output::jsonb, n.error::jsonb, n.started_at,
               n.duration, n.span_id
        FROM unnest(
            :n_tenants, :n_run_ids, :n_attempts, :n_nodes, :n_items, :n_statuses, :n_outputs, :n_errors, :n_started,
            :n_durations, :n_span_ids
        ) AS n(tenant, run_id, attempt, node, item, status, output, error, started_at, duration, span_id)
        WHERE ((n.tenant, n.run_id, n.attempt) IN (SELECT tenant, run_id, attempt FROM held)) = true
        ORDER BY n.tenant, n.run_id, n.node, n.item
        ON CONFLICT (tenant, run_id, node, item) DO UPDATE
        SET attempt = excluded.attempt, status = excluded.status, output = excluded.output, error = excluded.error,
            started_at = excluded.started_at, duration_seconds = excluded.duration_seconds, span_id = excluded.span_id
        WHERE node_results.status NOT IN ('succeeded', 'stopped')
"""

_CHECKPOINT = typed(
    f"""
    WITH asked AS (
        SELECT DISTINCT tenant, run_id, attempt, CASE WHEN place > 0 THEN 'running' END AS sought
        FROM unnest(:n_tenants, :n_run_ids, :n_attempts) WITH ORDINALITY AS a(tenant, run_id, attempt, place)
        WHERE {FEW}
    ), held AS (
        SELECT r.tenant, r.run_id, r.attempt
        FROM asked JOIN runs r USING (tenant, run_id, attempt)
        WHERE r.status = asked.sought
        ORDER BY r.run_id FOR SHARE OF r
    ), written AS ({_WRITE_NODES})
    SELECT run_id, attempt FROM held
    """,  # noqa: S608 - made of this module's own text; values are parameters
    **_NODE_TYPES,
)

# As in a claim, the status to be found depends on the row: else the index of what is running looks cheaper than it is.
# A retry is a try that its process survived, and so is one that waits: a run that was in the cell for it goes home. A
# run that was asked to end is not queued again. One with a lane has given its permits back by that, and is published
# when it has new ones.
_FINISH_TEXT = f"""
    WITH {{limits.also}} held AS (
        SELECT r.tenant, r.run_id, r.attempt, asked.status AS asked_status, asked.reason, asked.delay, asked.kind,
               asked.error, asked.outcome, asked.spent,
               CASE WHEN asked.status = 'queued' AND r.cancel_requested_at IS NOT NULL THEN 'cancelled'
                    ELSE asked.status END AS status
        FROM unnest(
            :tenants, :run_ids, :attempts, :statuses, :reasons, :delays, :kinds, :errors, :outcomes, :spent
        ) WITH ORDINALITY
            AS asked(tenant, run_id, attempt, status, reason, delay, kind, error, outcome, spent, place)
        JOIN runs r USING (tenant, run_id, attempt)
        WHERE {FEW} AND (r.status = 'running') = (place > 0)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r
    ), ended AS (
        UPDATE runs r
        SET status = held.status, reason = CASE WHEN held.status = 'queued' THEN held.reason END, lease_id = NULL,
            errors = r.errors + held.spent,
            available_at = CASE WHEN held.status = 'queued' THEN now() + make_interval(secs => held.delay)
                                ELSE r.available_at END,
            publish_at = CASE WHEN held.status <> 'queued' THEN r.publish_at
                              WHEN {{limits.lane}} IS NULL THEN now() + make_interval(secs => held.delay)
                              ELSE {UNPUBLISHED} END,
            admitted_at = CASE WHEN held.status = 'queued' THEN NULL ELSE r.admitted_at END, {{limits.sets}}
            queue = CASE WHEN held.outcome IN ('retried', 'suspended') THEN coalesce(r.home_queue, r.queue)
                         ELSE r.queue END,
            home_queue = CASE WHEN held.outcome IN ('retried', 'suspended') THEN NULL ELSE r.home_queue END,
            failure_kind = held.kind, error = held.error::jsonb,
            finished_at = CASE WHEN held.status = 'queued' THEN NULL ELSE now() END
        FROM held
        WHERE r.tenant = held.tenant AND r.run_id = held.run_id
        RETURNING r.tenant, r.run_id, r.attempt, r.status, r.finished_at,
                  extract(epoch FROM now() - r.created_at)::float8 AS age
    ), counted AS (
        INSERT INTO run_deltas (tenant, final)
        SELECT tenant, count(*) FROM ended WHERE finished_at IS NOT NULL GROUP BY tenant
    ), closed AS (
        UPDATE attempts a
        SET finished_at = now(), error = held.error::jsonb,
            outcome = CASE WHEN held.status <> held.asked_status THEN held.status ELSE held.outcome END
        FROM held
        WHERE a.tenant = held.tenant AND a.run_id = held.run_id AND a.attempt = held.attempt
    ), written AS ({_WRITE_NODES}){{waits}}
    SELECT run_id, attempt, status, age FROM ended
"""  # noqa: S608 - made of this module's own text; values are parameters
_FINISH_TYPES: dict[str, TypeEngine[Any]] = {
    "tenants": _TEXTS,
    "run_ids": _UUIDS,
    "attempts": _INTEGERS,
    "statuses": _TEXTS,
    "reasons": _TEXTS,
    "delays": ARRAY(Double),
    "kinds": _TEXTS,
    "errors": _TEXTS,
    "outcomes": _TEXTS,
    "spent": _INTEGERS,
    **_NODE_TYPES,
}
_FINISH = typed(_FINISH_TEXT.format(waits="", limits=NO_LIMITS), **_FINISH_TYPES)
_FINISH_AND_WAIT = typed(_FINISH_TEXT.format(waits=BEGIN_WAITS, limits=NO_LIMITS), **_FINISH_TYPES, **WAIT_TYPES)
_FINISH_LIMITED = typed(_FINISH_TEXT.format(waits="", limits=NEW_LIMITS), **_FINISH_TYPES, **LIMIT_TYPES)
_FINISH_PUT_OFF = typed(
    _FINISH_TEXT.format(waits=BEGIN_WAITS, limits=NEW_LIMITS), **_FINISH_TYPES, **WAIT_TYPES, **LIMIT_TYPES
)


_CAME_TO = typed(
    """
    SELECT a.outcome, extract(epoch FROM a.finished_at - r.created_at)::float8 AS age
    FROM attempts a JOIN runs r USING (tenant, run_id)
    WHERE a.tenant = :tenant AND a.run_id = :run_id AND a.attempt = :attempt AND a.finished_at IS NOT NULL
    """,
    tenant=Text(),
    run_id=Uuid(),
    attempt=Integer(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWrite:
    """A node's result to be stored; ``output`` and ``error`` are JSON text."""

    tenant: str
    run_id: UUID
    attempt: int
    result: NodeResult
    output: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How an attempt ended and where its run goes; ``error`` is JSON text, ``delay`` counts for ``queued`` alone.

    ``spent`` is what the attempt costs of the error budget; ``nodes`` are results that ride along, ``wait`` begins with
    it. ``limits`` are what the run waits for from now on; None leaves it those that it has.
    """

    tenant: str
    run_id: UUID
    attempt: int
    status: RunStatus
    outcome: AttemptOutcome
    reason: QueueReason | None = None
    delay: float = 0.0
    kind: FailureKind | None = None
    error: str | None = None
    spent: int = 0
    nodes: tuple[NodeWrite, ...] = ()
    wait: WaitWrite | None = None
    limits: LimitsWrite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Where a finish has moved its run: ``status`` is ``cancelled`` also for a retry of a run that was asked to end.

    ``age``: seconds since the run was made.
    """

    status: RunStatus
    age: float


async def write_nodes(connection: AsyncConnection, nodes: Sequence[NodeWrite]) -> set[tuple[UUID, int]]:
    """Store node results of runs that are still held; answer with the held ``(run id, attempt)`` pairs.

    A pair that is missing from the answer has lost its run: nothing of it was written.
    """
    rows = await connection.execute(_CHECKPOINT, _node_columns(nodes))
    return {(row.run_id, row.attempt) for row in rows}


async def finish_runs(connection: AsyncConnection, finishes: Sequence[Finish]) -> dict[tuple[UUID, int], Moved]:
    """End attempts and move their runs on; answer with where each run went that moved.

    A pair that is missing from the answer has lost its run: nothing of it was written.
    """
    waits = [finish.wait for finish in finishes if finish.wait is not None]
    limits = [finish.limits for finish in finishes if finish.limits is not None]
    rows = await connection.execute(
        _statement(waits=bool(waits), limits=bool(limits)),
        {
            "tenants": [finish.tenant for finish in finishes],
            "run_ids": [finish.run_id for finish in finishes],
            "attempts": [finish.attempt for finish in finishes],
            "statuses": [finish.status.value for finish in finishes],
            "reasons": [finish.reason.value if finish.reason else None for finish in finishes],
            "delays": [finish.delay for finish in finishes],
            "kinds": [finish.kind.value if finish.kind else None for finish in finishes],
            "errors": [finish.error for finish in finishes],
            "outcomes": [finish.outcome.value for finish in finishes],
            "spent": [finish.spent for finish in finishes],
            **_node_columns([node for finish in finishes for node in finish.nodes]),
            **(wait_columns(waits) if waits else {}),
            **(limit_columns(limits) if limits else {}),
        },
    )
    return {(row.run_id, row.attempt): Moved(status=RunStatus(row.status), age=row.age) for row in rows}


async def came_to(connection: AsyncConnection, finish: Finish) -> Moved | None:
    """Say what a finish did whose answer was lost: None when it did nothing, and another ended the attempt or holds it.

    An attempt ends once, so one that ended as ``finish`` has it did so by it, or by one that did the same.
    """
    key = {"tenant": finish.tenant, "run_id": finish.run_id, "attempt": finish.attempt}
    row = (await connection.execute(_CAME_TO, key)).one_or_none()
    if row is None:
        return None
    if row.outcome == finish.outcome:
        return Moved(status=finish.status, age=row.age)
    if row.outcome == AttemptOutcome.CANCELLED and finish.status is RunStatus.QUEUED:
        return Moved(status=RunStatus.CANCELLED, age=row.age)
    return None


def _statement(*, waits: bool, limits: bool) -> TextClause:
    if limits:
        return _FINISH_PUT_OFF if waits else _FINISH_LIMITED
    return _FINISH_AND_WAIT if waits else _FINISH


def _node_columns(written: Sequence[NodeWrite]) -> dict[str, list[Any]]:
    """Make columns of results, each once: branches of a run that end together bring the same ones along."""
    nodes = {(node.run_id, node.attempt, node.result.node, node.result.item): node for node in written}.values()
    return {
        "n_tenants": [node.tenant for node in nodes],
        "n_run_ids": [node.run_id for node in nodes],
        "n_attempts": [node.attempt for node in nodes],
        "n_nodes": [node.result.node for node in nodes],
        "n_items": [node.result.item for node in nodes],
        "n_statuses": [node.result.status.value for node in nodes],
        "n_outputs": [node.output for node in nodes],
        "n_errors": [node.error for node in nodes],
        "n_started": [node.result.started_at for node in nodes],
        "n_durations": [node.result.duration_seconds for node in nodes],
        "n_span_ids": [node.result.span_id for node in nodes],
    }
