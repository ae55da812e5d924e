"""Reading events for people and programs: one whole, or a page of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from events import AttemptOutcome, Event, EventStatus, FailureKind, QueueReason, RunStatus
from storage.claims import node_result
from storage.permits import ShownLimit, show_limits
from storage.policies import limits_of
from storage.records import (
    AttemptRecord,
    EventRecord,
    EventSummary,
    NodeResult,
    RunRecord,
    RunSummary,
    WaitRecord,
    status_of,
)
from storage.tables import attempts, events, node_results, runs
from storage.wait_records import waits_by_run, waits_ended_by

_replays = runs.alias("replays")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events to list; what is None does not filter. ``after`` and ``before`` bound ``received_at``, half-open."""

    type: str | None = None
    source: str | None = None
    status: EventStatus | None = None
    pipeline: str | None = None
    after: datetime | None = None
    before: datetime | None = None


async def get_event(connection: AsyncConnection, *, tenant: str, event_id: UUID) -> EventRecord | None:
    """Read an event with its runs, their attempts and node results."""
    row = (
        await connection.execute(select(events).where(events.c.tenant == tenant, events.c.event_id == event_id))
    ).one_or_none()
    if row is None:
        return None
    run_rows = (
        await connection.execute(
            select(runs).where(runs.c.tenant == tenant, runs.c.event_id == event_id).order_by(runs.c.run_id)
        )
    ).all()
    records = await run_records(connection, tenant, run_rows)
    return EventRecord(
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
            traceparent=row.traceparent,
        ),
        status=status_of(records, awaited=row.routes < 0),
        runs=records,
        ended_waits=await waits_ended_by(connection, tenant=tenant, event_id=event_id),
    )


async def list_events(
    connection: AsyncConnection, *, tenant: str, matching: EventFilter, cursor: UUID | None, limit: int
) -> list[EventSummary]:
    """List up to ``limit`` events, newest first, that come after ``cursor`` (the last event id of the page before)."""
    columns = (
        events.c.event_id,
        events.c.source,
        events.c.ce_id,
        events.c.type,
        events.c.subject,
        events.c.received_at,
        events.c.traceparent,
        events.c.routes,
    )
    query = select(*columns).where(events.c.tenant == tenant).order_by(events.c.event_id.desc()).limit(limit)
    if cursor is not None:
        query = query.where(events.c.event_id < cursor)
    rows = (await connection.execute(_filtered(query, matching))).all()
    summaries = await _summaries(connection, tenant, [row.event_id for row in rows])
    return [
        EventSummary(
            event_id=row.event_id,
            source=row.source,
            ce_id=row.ce_id,
            type=row.type,
            subject=row.subject,
            received_at=row.received_at,
            traceparent=row.traceparent,
            status=status_of(summaries.get(row.event_id, ()), awaited=row.routes < 0),
            runs=tuple(summaries.get(row.event_id, ())),
        )
        for row in rows
    ]


def _filtered(query: Select[Any], matching: EventFilter) -> Select[Any]:
    if matching.type is not None:
        query = query.where(events.c.type == matching.type)
    if matching.source is not None:
        query = query.where(events.c.source == matching.source)
    if matching.after is not None:
        query = query.where(events.c.received_at >= matching.after)
    if matching.before is not None:
        query = query.where(events.c.received_at < matching.before)
    if matching.pipeline is not None:
        query = query.where(_has_run(runs.c.pipeline == matching.pipeline))
    if matching.status is not None:
        query = query.where(_status_is(matching.status))
    return query


def _has_run(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(runs.c.tenant == events.c.tenant, runs.c.event_id == events.c.event_id, *conditions)


def _status_is(status: EventStatus) -> ColumnElement[bool]:
    """Say in SQL what ``storage.records.status_of`` says of a set of runs."""
    open_ = _has_run(runs.c.status.in_([RunStatus.QUEUED, RunStatus.RUNNING]))
    begun = _has_run(runs.c.status != RunStatus.QUEUED, ~is_replayed())
    failed = _has_run(runs.c.status == RunStatus.FAILED, ~is_replayed())
    cancelled = _has_run(runs.c.status == RunStatus.CANCELLED, ~is_replayed())
    routed = _has_run()
    said: dict[EventStatus, ColumnElement[bool]] = {
        EventStatus.UNROUTED: and_(events.c.routes == 0, ~routed),
        EventStatus.AWAITED: and_(events.c.routes < 0, ~routed),
        EventStatus.QUEUED: and_(routed, ~begun),
        EventStatus.RUNNING: and_(open_, begun),
        EventStatus.FAILED: and_(~open_, failed),
        EventStatus.CANCELLED: and_(~open_, cancelled, ~failed),
        EventStatus.SUCCEEDED: and_(routed, ~or_(open_, failed, cancelled)),
    }
    return said[status]


def is_replayed() -> ColumnElement[bool]:
    """Say of a row of ``runs`` that another repeats it."""
    return exists().where(
        _replays.c.tenant == runs.c.tenant,
        _replays.c.event_id == runs.c.event_id,
        _replays.c.replay_of == runs.c.run_id,
    )


async def _summaries(
    connection: AsyncConnection, tenant: str, event_ids: Sequence[UUID]
) -> dict[UUID, list[RunSummary]]:
    found: dict[UUID, list[RunSummary]] = {}
    if event_ids:
        query = (
            select(runs.c.event_id, runs.c.run_id, runs.c.pipeline, runs.c.status, runs.c.replay_of)
            .where(runs.c.tenant == tenant, runs.c.event_id.in_(event_ids))
            .order_by(runs.c.run_id)
        )
        for row in await connection.execute(query):
            summary = RunSummary(
                run_id=row.run_id, pipeline=row.pipeline, status=RunStatus(row.status), replay_of=row.replay_of
            )
            found.setdefault(row.event_id, []).append(summary)
    return found


async def run_records(connection: AsyncConnection, tenant: str, run_rows: Sequence[Row[Any]]) -> tuple[RunRecord, ...]:
    """Make the records of rows of ``runs``, with their attempts and node results."""
    run_ids = [row.run_id for row in run_rows]
    tried: dict[UUID, list[AttemptRecord]] = {run_id: [] for run_id in run_ids}
    results: dict[UUID, list[NodeResult]] = {run_id: [] for run_id in run_ids}
    waited: dict[UUID, list[WaitRecord]] = {}
    if run_ids:
        attempt_rows = await connection.execute(
            select(attempts)
            .where(attempts.c.tenant == tenant, attempts.c.run_id.in_(run_ids))
            .order_by(attempts.c.run_id, attempts.c.attempt)
        )
        for row in attempt_rows:
            tried[row.run_id].append(_attempt(row))
        node_rows = await connection.execute(
            select(node_results)
            .where(node_results.c.tenant == tenant, node_results.c.run_id.in_(run_ids))
            .order_by(node_results.c.run_id, node_results.c.started_at, node_results.c.node, node_results.c.item)
        )
        for row in node_rows:
            results[row.run_id].append(node_result(row))
        waited = await waits_by_run(connection, tenant=tenant, run_ids=run_ids)
    records = [
        _run(
            row,
            attempts_=tried[row.run_id],
            nodes=results[row.run_id],
            waits_=waited.get(row.run_id, ()),
            waits_for=await _waits_for(connection, row) if _is_held_back(row) else (),
        )
        for row in run_rows
    ]
    return tuple(records)


def _is_held_back(row: Row[Any]) -> bool:
    return row.status == RunStatus.QUEUED and row.lane is not None and row.admitted_at is None


async def _waits_for(connection: AsyncConnection, row: Row[Any]) -> tuple[ShownLimit, ...]:
    """Return the limits of a run that are full or, where none is and it waits for its turn, all of them."""
    shown = await show_limits(connection, tenant=row.tenant, limits=limits_of(row.limits))
    return tuple(limit for limit in shown if limit.is_full) or shown


def _attempt(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(
        attempt=row.attempt,
        worker=row.worker,
        task_id=row.task_id,
        span_id=row.span_id,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=AttemptOutcome(row.outcome) if row.outcome else None,
        error=row.error,
    )


def _run(
    row: Row[Any],
    *,
    attempts_: Iterable[AttemptRecord],
    nodes: Iterable[NodeResult],
    waits_: Iterable[WaitRecord],
    waits_for: tuple[ShownLimit, ...],
) -> RunRecord:
    return RunRecord(
        run_id=row.run_id,
        pipeline=row.pipeline,
        pipeline_version=row.pipeline_version,
        queue=row.queue,
        status=RunStatus(row.status),
        reason=QueueReason(row.reason) if row.reason else None,
        available_at=row.available_at,
        attempt=row.attempt,
        errors=row.errors,
        deaths=row.deaths,
        failure_kind=FailureKind(row.failure_kind) if row.failure_kind else None,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempts=tuple(attempts_),
        nodes=tuple(nodes),
        traceparent=row.traceparent,
        cancel_requested_at=row.cancel_requested_at,
        cancel_reason=row.cancel_reason,
        replay_of=row.replay_of,
        replay_from=row.replay_from,
        priority=row.priority,
        expires_at=row.expires_at,
        unique_key=row.unique_key,
        limits=limits_of(row.limits),
        admitted_at=row.admitted_at,
        waits_for=waits_for,
        waits=tuple(waits_),
    )
