"""Storing events and their runs. One statement stores a whole flush."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime, Integer, LargeBinary, SmallInteger, Text, Uuid

from events import RunStatus
from storage.records import NewEvent, RunSummary, StoredEvent
from storage.sql import typed

_TEXTS = ARRAY(Text)
_UUIDS = ARRAY(Uuid)

# Rows go in in the order of their key: two flushes with overlapping keys then wait for each other, and never deadlock.
_INSERT: TextClause = typed(
    """
    WITH incoming AS (
        SELECT * FROM unnest(
            :tenants, :event_ids, :sources, :ce_ids, :types, :subjects, :times, :datas, :hashes, :traceparents,
            :routes
        ) AS t(tenant, event_id, source, ce_id, type, subject, time, data, content_hash, traceparent, routes)
        ORDER BY tenant, source, ce_id
    ), stored AS (
        INSERT INTO events
            (tenant, event_id, source, ce_id, type, subject, time, data, content_hash, traceparent, routes)
        SELECT tenant, event_id, source, ce_id, type, subject, time, data::jsonb, content_hash, traceparent, routes
        FROM incoming
        ON CONFLICT (tenant, source, ce_id) DO NOTHING
        RETURNING tenant, event_id, received_at, traceparent
    ), queued AS (
        INSERT INTO runs (tenant, run_id, event_id, pipeline, pipeline_version, queue, reason, traceparent)
        SELECT stored.tenant, r.run_id, stored.event_id, r.pipeline, r.version, r.queue, 'accepted', stored.traceparent
        FROM unnest(:run_event_ids, :run_ids, :pipelines, :versions, :queues)
            AS r(event_id, run_id, pipeline, version, queue)
        JOIN stored USING (event_id)
        RETURNING tenant
    ), counted AS (
        INSERT INTO run_deltas (tenant, accepted) SELECT tenant, count(*) FROM queued GROUP BY tenant
    )
    SELECT event_id, received_at FROM stored
    """,
    tenants=_TEXTS,
    event_ids=_UUIDS,
    sources=_TEXTS,
    ce_ids=_TEXTS,
    types=_TEXTS,
    subjects=_TEXTS,
    times=ARRAY(DateTime(timezone=True)),
    datas=_TEXTS,
    hashes=ARRAY(LargeBinary),
    traceparents=_TEXTS,
    routes=ARRAY(SmallInteger),
    run_event_ids=_UUIDS,
    run_ids=_UUIDS,
    pipelines=_TEXTS,
    versions=ARRAY(Integer),
    queues=_TEXTS,
)

_EXISTING: TextClause = typed(
    """
    SELECT e.tenant, e.source, e.ce_id, e.event_id, e.content_hash, e.received_at, e.traceparent,
           r.run_id, r.pipeline, r.status, r.replay_of
    FROM unnest(:tenants, :sources, :ce_ids) AS k(tenant, source, ce_id)
    JOIN events e USING (tenant, source, ce_id)
    LEFT JOIN runs r ON r.tenant = e.tenant AND r.event_id = e.event_id
    ORDER BY r.run_id
    """,
    tenants=_TEXTS,
    sources=_TEXTS,
    ce_ids=_TEXTS,
)

_Key = tuple[str, str, str]


async def store_events(connection: AsyncConnection, new: Sequence[NewEvent]) -> list[StoredEvent]:
    """Store what is new of ``new`` with its runs; answer, in the same order, with what stands for each key.

    Of two events with one key the first stored wins, whether it came in this call or another. Raises SQLAlchemy's
    ``DBAPIError`` when PostgreSQL refuses a row: then nothing of the call is stored (``storage.engine.refused_state``).
    """
    created = {row.event_id: row.received_at for row in await connection.execute(_INSERT, _columns(new))}
    missing = [event for event in new if event.event_id not in created]
    existing = await _existing(connection, missing) if missing else {}
    removed = [event for event in missing if _key(event) not in existing]
    if removed:  # by retention, between the two statements: they are new again
        again = await store_events(connection, removed)
        existing |= {_key(event): answer for event, answer in zip(removed, again, strict=True) if not answer.created}
        created |= {answer.event_id: answer.received_at for answer in again if answer.created}
    return [
        StoredEvent(
            created=True,
            event_id=event.event_id,
            content_hash=event.content_hash,
            received_at=created[event.event_id],
            traceparent=event.traceparent,
            runs=tuple(
                RunSummary(run_id=run.run_id, pipeline=run.pipeline, status=RunStatus.QUEUED) for run in event.runs
            ),
        )
        if event.event_id in created
        else existing[_key(event)]
        for event in new
    ]


def _key(event: NewEvent) -> _Key:
    return event.tenant, event.source, event.ce_id


def _columns(new: Sequence[NewEvent]) -> dict[str, list[Any]]:
    pairs = [(event.event_id, run) for event in new for run in event.runs]
    return {
        "tenants": [event.tenant for event in new],
        "event_ids": [event.event_id for event in new],
        "sources": [event.source for event in new],
        "ce_ids": [event.ce_id for event in new],
        "types": [event.type for event in new],
        "subjects": [event.subject for event in new],
        "times": [event.time for event in new],
        "datas": [event.data for event in new],
        "hashes": [event.content_hash for event in new],
        "traceparents": [event.traceparent for event in new],
        "routes": [len(event.runs) for event in new],
        "run_event_ids": [event_id for event_id, _ in pairs],
        "run_ids": [run.run_id for _, run in pairs],
        "pipelines": [run.pipeline for _, run in pairs],
        "versions": [run.pipeline_version for _, run in pairs],
        "queues": [run.queue for _, run in pairs],
    }


async def _existing(connection: AsyncConnection, wanted: Sequence[NewEvent]) -> dict[_Key, StoredEvent]:
    keys = sorted({_key(event) for event in wanted})
    rows = await connection.execute(
        _EXISTING,
        {"tenants": [key[0] for key in keys], "sources": [key[1] for key in keys], "ce_ids": [key[2] for key in keys]},
    )
    found: dict[_Key, StoredEvent] = {}
    summaries: dict[_Key, list[RunSummary]] = {}
    for row in rows:
        key = (row.tenant, row.source, row.ce_id)
        if row.run_id is not None:
            summaries.setdefault(key, []).append(
                RunSummary(
                    run_id=row.run_id, pipeline=row.pipeline, status=RunStatus(row.status), replay_of=row.replay_of
                )
            )
        found[key] = StoredEvent(
            created=False,
            event_id=row.event_id,
            content_hash=row.content_hash,
            received_at=row.received_at,
            traceparent=row.traceparent,
            runs=tuple(summaries.get(key, ())),
        )
    return found


async def ping(connection: AsyncConnection) -> None:
    """Ask PostgreSQL for a sign of life."""
    await connection.execute(text("SELECT 1"))
