"""Making runs that repeat others. A run is repeated once; who wants it again repeats its replay."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Integer, SmallInteger, Text, TypeEngine, Uuid

from storage.dead import DEAD, FILTER_TYPES, DeadFilter, filter_values
from storage.policies import COLUMNS, NAMES, VALUES, RunPolicy, policy_columns
from storage.sql import typed

# Replays of one event take turns at its row: the statement that follows sees what the one before has made.
_TURN = typed(
    "SELECT event_id FROM events WHERE tenant = :tenant AND event_id = :event_id FOR NO KEY UPDATE",
    tenant=Text(),
    event_id=Uuid(),
)

_COUNT = typed(
    f"SELECT pipeline, count(*) FROM ({DEAD}) AS dead GROUP BY pipeline",  # noqa: S608 - this module's own text
    **FILTER_TYPES,
)

_SAMPLE = typed(f"{DEAD} ORDER BY r.run_id LIMIT :most", most=Integer(), **FILTER_TYPES)

_TAKE = typed(
    f"{DEAD} ORDER BY r.event_id, r.run_id LIMIT :most FOR NO KEY UPDATE OF e SKIP LOCKED",
    most=Integer(),
    **FILTER_TYPES,
)

_POLICY_TYPES: Final[dict[str, TypeEngine[Any]]] = {
    "priorities": ARRAY(SmallInteger),
    "ttls": ARRAY(Double),
    "unique_keys": ARRAY(Text),
    "limits": ARRAY(Text),
    "lanes": ARRAY(Text),
}
_POLICIES: Final = ", ".join(f":{name}" for name in _POLICY_TYPES)

# Attempt 0 is the one before the first: results that the run was given.
_REPLAY = typed(
    f"""
    WITH asked AS (
        SELECT * FROM unnest(:origins, :run_ids, :versions, :queues, :traceparents, {_POLICIES})
            AS t(origin, run_id, version, queue, traceparent, {NAMES})
    ), made AS (
        INSERT INTO runs
            (tenant, run_id, event_id, pipeline, pipeline_version, queue, reason, traceparent, replay_of, replay_from,
             accepted_version, {COLUMNS})
        SELECT o.tenant, asked.run_id, o.event_id, o.pipeline, asked.version, asked.queue, 'replayed',
               asked.traceparent, o.run_id, :node,
               nullif(coalesce(o.accepted_version, o.pipeline_version), asked.version), {VALUES.format(run="asked")}
        FROM asked JOIN runs o ON o.tenant = :tenant AND o.run_id = asked.origin
        WHERE o.finished_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM runs n WHERE n.tenant = o.tenant AND n.event_id = o.event_id AND n.replay_of = o.run_id
        )
        RETURNING tenant, run_id, replay_of
    ), kept AS (
        INSERT INTO node_results
            (tenant, run_id, node, item, attempt, status, output, error, started_at, duration_seconds, span_id)
        SELECT made.tenant, made.run_id, n.node, n.item, 0, n.status, n.output, n.error, n.started_at,
               n.duration_seconds, n.span_id
        FROM made JOIN node_results n ON n.tenant = made.tenant AND n.run_id = made.replay_of
        WHERE n.status = 'succeeded' AND n.node = ANY(:kept)
    ), waited AS (
        INSERT INTO waits
            (tenant, run_id, node, type, path, key, began_at, until, probed, matched_event_id, ended_at)
        SELECT made.tenant, made.run_id, w.node, w.type, w.path, w.key, w.began_at, w.until, true, w.matched_event_id,
               w.ended_at
        FROM made JOIN waits w ON w.tenant = made.tenant AND w.run_id = made.replay_of
        WHERE w.ended_at IS NOT NULL AND w.node = ANY(:kept)
    ), counted AS (
        INSERT INTO run_deltas (tenant, accepted) SELECT tenant, count(*) FROM made GROUP BY tenant
    )
    SELECT run_id, replay_of FROM made
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenant=Text(),
    origins=ARRAY(Uuid),
    run_ids=ARRAY(Uuid),
    versions=ARRAY(Integer),
    queues=ARRAY(Text),
    traceparents=ARRAY(Text),
    node=Text(),
    kept=ARRAY(Text),
    **_POLICY_TYPES,
)

_ROUTE = typed(
    f"""
    WITH made AS (
        INSERT INTO runs (tenant, run_id, event_id, pipeline, pipeline_version, queue, reason, traceparent, {COLUMNS})
        SELECT e.tenant, t.run_id, e.event_id, t.pipeline, t.version, t.queue, 'replayed', t.traceparent,
               {VALUES.format(run="t")}
        FROM unnest(:run_ids, :pipelines, :versions, :queues, :traceparents, {_POLICIES})
            AS t(run_id, pipeline, version, queue, traceparent, {NAMES})
        JOIN events e ON e.tenant = :tenant AND e.event_id = :event_id
        RETURNING tenant
    )
    INSERT INTO run_deltas (tenant, accepted) SELECT tenant, count(*) FROM made GROUP BY tenant
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenant=Text(),
    event_id=Uuid(),
    run_ids=ARRAY(Uuid),
    pipelines=ARRAY(Text),
    versions=ARRAY(Integer),
    queues=ARRAY(Text),
    traceparents=ARRAY(Text),
    **_POLICY_TYPES,
)

_ATTRIBUTES = typed(
    "SELECT event_id, type, source, subject, data FROM events WHERE tenant = :tenant AND event_id = ANY(:event_ids)",
    tenant=Text(),
    event_ids=ARRAY(Uuid),
).columns(data=JSONB)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRun:
    """A failed run that nothing repeats yet; ``traceparent`` is of its trace."""

    run_id: UUID
    event_id: UUID
    pipeline: str
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A run to be made in the place of ``origin``."""

    origin: UUID
    run_id: UUID
    pipeline_version: int
    queue: str
    traceparent: str | None
    policy: RunPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRoute:
    """A run to be made of an event for a pipeline that has not seen it."""

    run_id: UUID
    pipeline: str
    pipeline_version: int
    queue: str
    traceparent: str | None
    policy: RunPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """Where replays begin: at ``node``, with the results of the ``kept`` nodes taken over."""

    node: str | None = None
    kept: frozenset[str] = field(default_factory=frozenset)


async def take_turn(connection: AsyncConnection, *, tenant: str, event_id: UUID) -> bool:
    """Wait until no other transaction makes replays of the event; False if there is no such event."""
    rows = await connection.execute(_TURN, {"tenant": tenant, "event_id": event_id})
    return rows.first() is not None


async def count_dead(connection: AsyncConnection, *, tenant: str, matching: DeadFilter) -> dict[str, int]:
    """Count the failed runs that nothing repeats yet, by pipeline."""
    rows = await connection.execute(_COUNT, filter_values(tenant, matching))
    return {pipeline: int(count) for pipeline, count in rows}


async def sample_dead(connection: AsyncConnection, *, tenant: str, matching: DeadFilter, most: int) -> list[DeadRun]:
    """List up to ``most`` of the failed runs that nothing repeats yet, the oldest."""
    rows = await connection.execute(_SAMPLE, filter_values(tenant, matching) | {"most": most})
    return [DeadRun(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


async def take_dead(connection: AsyncConnection, *, tenant: str, matching: DeadFilter, most: int) -> list[DeadRun]:
    """List up to ``most`` of them and take the turn at their events; those that others are at are left out."""
    rows = await connection.execute(_TAKE, filter_values(tenant, matching) | {"most": most})
    return [DeadRun(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


async def replay_runs(
    connection: AsyncConnection, *, tenant: str, replays: Sequence[Replay], begin: From | None = None
) -> dict[UUID, UUID]:
    """Make the replays, due at once; answer with the new run's id by its origin's.

    Origins that have not ended, or that something repeats already, are left out. The caller has the turn at their
    events.
    """
    begin = begin or From()
    rows = await connection.execute(
        _REPLAY,
        {
            "tenant": tenant,
            "origins": [replay.origin for replay in replays],
            "run_ids": [replay.run_id for replay in replays],
            "versions": [replay.pipeline_version for replay in replays],
            "queues": [replay.queue for replay in replays],
            "traceparents": [replay.traceparent for replay in replays],
            "node": begin.node,
            "kept": sorted(begin.kept),
            **_policies(tenant, replays),
        },
    )
    return {row.replay_of: row.run_id for row in rows}


async def route_again(connection: AsyncConnection, *, tenant: str, event_id: UUID, routes: Sequence[NewRoute]) -> None:
    """Make runs of an event for pipelines that have none of it. The caller has the turn at the event."""
    await connection.execute(
        _ROUTE,
        {
            "tenant": tenant,
            "event_id": event_id,
            "run_ids": [route.run_id for route in routes],
            "pipelines": [route.pipeline for route in routes],
            "versions": [route.pipeline_version for route in routes],
            "queues": [route.queue for route in routes],
            "traceparents": [route.traceparent for route in routes],
            **_policies(tenant, routes),
        },
    )


async def events_attributes(connection: AsyncConnection, *, tenant: str, event_ids: Sequence[UUID]) -> list[Row[Any]]:
    """Read ``event_id``, ``type``, ``source``, ``subject`` and ``data`` of events: what policies are made of."""
    return list(await connection.execute(_ATTRIBUTES, {"tenant": tenant, "event_ids": list(event_ids)}))


def _policies(tenant: str, made: Sequence[Replay | NewRoute]) -> dict[str, list[Any]]:
    columns = policy_columns((tenant, one.policy) for one in made)
    return dict(zip(_POLICY_TYPES, columns, strict=True))
