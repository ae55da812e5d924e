"""Reading runs for people and programs: one whole, or a page of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from events import FailureKind, JsonValue, QueueReason, RunStatus
from storage.queries import is_replayed, run_records
from storage.records import RunRecord
from storage.tables import events, runs

_OF_EVENT = and_(events.c.tenant == runs.c.tenant, events.c.event_id == runs.c.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; what is None does not filter. ``after`` and ``before`` bound their end, half-open.

    ``replayed``: whether another run repeats it. The dead ones are ``failed`` and not replayed.
    """

    status: RunStatus | None = None
    pipeline: str | None = None
    type: str | None = None
    failure_kind: FailureKind | None = None
    replayed: bool | None = None
    after: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunItem:
    """A run in a list."""

    run_id: UUID
    event_id: UUID
    event_type: str
    pipeline: str
    pipeline_version: int
    queue: str
    status: RunStatus
    reason: QueueReason | None
    attempt: int
    failure_kind: FailureKind | None
    error: dict[str, JsonValue] | None
    created_at: datetime
    finished_at: datetime | None
    replay_of: UUID | None
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStory:
    """A run with all that is known of it; ``replayed_by`` is the run that repeats it.

    ``traceparent`` is of its trace: its own, or its event's.
    """

    event_id: UUID
    event_type: str
    replayed_by: UUID | None
    traceparent: str | None
    run: RunRecord


async def get_run(connection: AsyncConnection, *, tenant: str, run_id: UUID) -> RunStory | None:
    """Read a run with its attempts and node results."""
    row = (
        await connection.execute(
            select(runs, events.c.type.label("event_type"), events.c.traceparent.label("event_traceparent"))
            .join(events, _OF_EVENT)
            .where(runs.c.tenant == tenant, runs.c.run_id == run_id)
        )
    ).one_or_none()
    if row is None:
        return None
    replayed_by = await connection.execute(
        select(runs.c.run_id).where(
            runs.c.tenant == tenant, runs.c.event_id == row.event_id, runs.c.replay_of == run_id
        )
    )
    (record,) = await run_records(connection, tenant, [row])
    return RunStory(
        event_id=row.event_id,
        event_type=row.event_type,
        replayed_by=replayed_by.scalar(),
        traceparent=row.traceparent or row.event_traceparent,
        run=record,
    )


async def list_runs(
    connection: AsyncConnection, *, tenant: str, matching: RunFilter, cursor: UUID | None, limit: int
) -> list[RunItem]:
    """List up to ``limit`` runs, newest first, that come after ``cursor`` (the last run id of the page before)."""
    query = (
        select(
            runs.c.run_id,
            runs.c.event_id,
            events.c.type.label("event_type"),
            runs.c.pipeline,
            runs.c.pipeline_version,
            runs.c.queue,
            runs.c.status,
            runs.c.reason,
            runs.c.attempt,
            runs.c.failure_kind,
            runs.c.error,
            runs.c.created_at,
            runs.c.finished_at,
            runs.c.replay_of,
            runs.c.traceparent,
        )
        .join(events, _OF_EVENT)
        .where(runs.c.tenant == tenant)
        .order_by(runs.c.run_id.desc())
        .limit(limit)
    )
    if cursor is not None:
        query = query.where(runs.c.run_id < cursor)
    rows = await connection.execute(_filtered(query, matching))
    return [_item(dict(row._mapping)) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


def _filtered(query: Select[Any], matching: RunFilter) -> Select[Any]:
    if matching.status is not None:
        # As a literal, so that the partial indexes on the status are seen.
        query = query.where(runs.c.status == literal_column(f"'{matching.status.value}'"))
    if matching.pipeline is not None:
        query = query.where(runs.c.pipeline == matching.pipeline)
    if matching.type is not None:
        query = query.where(events.c.type == matching.type)
    if matching.failure_kind is not None:
        query = query.where(runs.c.failure_kind == matching.failure_kind.value)
    if matching.replayed is not None:
        query = query.where(is_replayed() if matching.replayed else ~is_replayed())
    if matching.after is not None:
        query = query.where(runs.c.finished_at >= matching.after)
    if matching.before is not None:
        query = query.where(runs.c.finished_at < matching.before)
    return query


def _item(row: dict[str, Any]) -> RunItem:
    return RunItem(
        **row
        | {
            "status": RunStatus(row["status"]),
            "reason": QueueReason(row["reason"]) if row["reason"] else None,
            "failure_kind": FailureKind(row["failure_kind"]) if row["failure_kind"] else None,
        }
    )
