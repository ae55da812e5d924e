"""Storing events and their runs. One statement stores a whole flush."""

from collections.abc import Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events import RunStatus
from storage.policies import COLUMNS, NAMES, VALUES, policy_columns
from storage.records import NewEvent, RunSummary, StoredEvent

# Rows go in in the order of their key: two flushes with overlapping keys then wait for each other, and never deadlock.
# Of two with one key in a flush the first that came is stored: event ids rise.
# A column that is one value throughout comes as that value alone: an element costs the driver more than its bytes tell.
_STORE: Final = """
    WITH incoming AS (
        SELECT coalesce(tenant, ($1::text[])[1]) AS tenant, event_id, coalesce(source, ($3::text[])[1]) AS source,
               ce_id, coalesce(type, ($5::text[])[1]) AS type, subject, time, data, content_hash, traceparent,
               coalesce(routes, ($11::smallint[])[1]) AS routes
        FROM unnest(
            $1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::text[],
            $9::bytea[], $10::text[], $11::smallint[]
        ) AS t(tenant, event_id, source, ce_id, type, subject, time, data, content_hash, traceparent, routes)
        ORDER BY tenant, source, ce_id, event_id
    ), stored AS (
        INSERT INTO events
            (tenant, event_id, source, ce_id, type, subject, time, data, content_hash, traceparent, routes)
        SELECT tenant, event_id, source, ce_id, type, subject, time, data::jsonb, content_hash, traceparent, routes
        FROM incoming
        ON CONFLICT (tenant, source, ce_id) WHERE ce_id IS NOT NULL DO NOTHING
        RETURNING tenant, event_id, received_at, traceparent
    ), queued AS (
        {runs}
        RETURNING tenant
    ), counted AS (
        INSERT INTO run_deltas (tenant, accepted) SELECT tenant, count(*) FROM queued GROUP BY tenant
    )
    SELECT count(*) AS stored, max(received_at) AS received_at,
           CASE WHEN count(*) < cardinality($2) THEN array_agg(event_id) END AS event_ids
    FROM stored
"""

_RUNS: Final = """
        INSERT INTO runs (tenant, run_id, event_id, pipeline, pipeline_version, queue, reason, traceparent{columns})
        SELECT stored.tenant, r.run_id, stored.event_id, coalesce(r.pipeline, ($14::text[])[1]),
               coalesce(r.version, ($15::integer[])[1]), coalesce(r.queue, ($16::text[])[1]),
               'accepted', stored.traceparent{values}
        FROM unnest($12::uuid[], $13::uuid[], $14::text[], $15::integer[], $16::text[]{arrays})
            AS r(event_id, run_id, pipeline, version, queue{names})
        JOIN stored USING (event_id)
"""

_INSERT: Final = _STORE.format(runs=_RUNS.format(columns="", values="", arrays="", names=""))

_INSERT_BY_POLICIES: Final = _STORE.format(
    runs=_RUNS.format(
        columns=f", {COLUMNS}",
        values=f", {VALUES.format(run='r')}",
        arrays=", $17::smallint[], $18::float8[], $19::text[], $20::text[], $21::text[]",
        names=f", {NAMES}",
    )
)

_INSERT_KEYS: Final = """
    INSERT INTO event_keys (tenant, event_id, type, path, key)
    SELECT tenant, event_id, type, path, key
    FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[]) AS k(tenant, event_id, type, path, key)
    ORDER BY event_id, path
"""

_EXISTING: Final = """
    SELECT e.tenant, e.source, e.ce_id, e.event_id, e.content_hash, e.received_at, e.traceparent, e.routes,
           r.run_id, r.pipeline, r.status, r.replay_of
    FROM unnest($1::text[], $2::text[], $3::text[]) AS k(tenant, source, ce_id)
    JOIN events e USING (tenant, source, ce_id)
    LEFT JOIN runs r ON r.tenant = e.tenant AND r.event_id = e.event_id
    ORDER BY r.run_id
"""


_NO_RUNS: Final = {False: 0, True: -1}
"""The ``routes`` of an event that no pipeline takes, by whether runs may wait for it."""


class Fetches(Protocol):
    """What is asked of a connection: the driver's own has it. SQLAlchemy's layer would cost more than the statement."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Any]:
        """Run a statement with ``$n`` parameters; return its rows, which are read by column name."""


_Key = tuple[str, str, str]


async def store_events(connection: Fetches, new: Sequence[NewEvent]) -> list[StoredEvent]:
    """Store what is new of ``new`` with its runs; answer, in the same order, with what stands for each key.

    Of two events with one key the first stored wins, whether it came in this call or another. Raises the driver's
    error when PostgreSQL refuses a row: then nothing of the call is stored (``storage.engine.refused_state``).
    """
    if not new:
        return []
    policies = [run.policy for event in new for run in event.runs]
    if any(policies):
        (row,) = await connection.fetch(_INSERT_BY_POLICIES, *_columns(new), *_policy_columns(new))
    else:
        (row,) = await connection.fetch(_INSERT, *_columns(new))
    received_at = row["received_at"]  # one transaction, one time
    await _store_keys(connection, new, stored=None if row["stored"] == len(new) else set(row["event_ids"] or ()))
    if row["stored"] == len(new):
        return [_created(event, received_at) for event in new]
    created = dict.fromkeys(row["event_ids"] or (), received_at)
    missing = [event for event in new if event.event_id not in created]
    existing = await _existing(connection, missing) if missing else {}
    removed = [event for event in missing if _key(event) not in existing]
    if removed:  # by retention, between the two statements: they are new again
        again = await store_events(connection, removed)
        existing |= {_key(event): answer for event, answer in zip(removed, again, strict=True) if not answer.created}
        created |= {answer.event_id: answer.received_at for answer in again if answer.created}
    return [
        _created(event, created[event.event_id]) if event.event_id in created else existing[_key(event)]
        for event in new
    ]


async def _store_keys(connection: Fetches, new: Sequence[NewEvent], *, stored: set[UUID] | None) -> None:
    """Store the keys of those that were stored; None: of all. Most calls have none, and cost no statement."""
    keys = [
        (event, key)
        for event in new
        if event.keys and (stored is None or event.event_id in stored)
        for key in event.keys
    ]
    if keys:
        await connection.fetch(
            _INSERT_KEYS,
            [event.tenant for event, _ in keys],
            [event.event_id for event, _ in keys],
            [event.type for event, _ in keys],
            [key.path for _, key in keys],
            [key.key for _, key in keys],
        )


def _created(event: NewEvent, received_at: Any) -> StoredEvent:
    return StoredEvent(
        created=True,
        event_id=event.event_id,
        content_hash=event.content_hash,
        received_at=received_at,
        traceparent=event.traceparent,
        runs=tuple([RunSummary(run.run_id, run.pipeline, RunStatus.QUEUED) for run in event.runs]),
        awaited=event.awaited and not event.runs,
    )


def _key(event: NewEvent) -> _Key:
    return event.tenant, event.source, event.ce_id


def _columns(new: Sequence[NewEvent]) -> tuple[list[Any], ...]:
    pairs = [(event.event_id, run) for event in new for run in event.runs]
    return (
        _short([event.tenant for event in new]),
        [event.event_id for event in new],
        _short([event.source for event in new]),
        [event.ce_id for event in new],
        _short([event.type for event in new]),
        _some([event.subject for event in new]),
        _some([event.time for event in new]),
        [event.data for event in new],
        [event.content_hash for event in new],
        [event.traceparent for event in new],
        _short([len(event.runs) or _NO_RUNS[event.awaited] for event in new]),
        [event_id for event_id, _ in pairs],
        [run.run_id for _, run in pairs],
        _short([run.pipeline for _, run in pairs]),
        _short([run.pipeline_version for _, run in pairs]),
        _short([run.queue for _, run in pairs]),
    )


def _policy_columns(new: Sequence[NewEvent]) -> tuple[list[Any], ...]:
    return policy_columns((event.tenant, run.policy) for event in new for run in event.runs)


def _short(column: list[Any]) -> list[Any]:
    return column[:1] if len(set(column)) == 1 else column


def _some(column: list[Any]) -> list[Any]:
    return column if any(value is not None for value in column) else column[:1]


async def _existing(connection: Fetches, wanted: Sequence[NewEvent]) -> dict[_Key, StoredEvent]:
    keys = sorted({_key(event) for event in wanted})
    found: dict[_Key, StoredEvent] = {}
    summaries: dict[_Key, list[RunSummary]] = {}
    for row in await connection.fetch(_EXISTING, *([key[place] for key in keys] for place in range(3))):
        key = (row["tenant"], row["source"], row["ce_id"])
        if row["run_id"] is not None:
            summaries.setdefault(key, []).append(_summary(row))
        found[key] = StoredEvent(
            created=False,
            event_id=row["event_id"],
            content_hash=row["content_hash"],
            received_at=row["received_at"],
            traceparent=row["traceparent"],
            runs=tuple(summaries.get(key, ())),
            awaited=row["routes"] < 0,
        )
    return found


def _summary(row: Any) -> RunSummary:
    return RunSummary(
        run_id=row["run_id"], pipeline=row["pipeline"], status=RunStatus(row["status"]), replay_of=row["replay_of"]
    )


async def ping(connection: AsyncConnection) -> None:
    """Ask PostgreSQL for a sign of life."""
    await connection.execute(text("SELECT 1"))
