"""What was accepted and what ended lately. Each look reads so many rows at most, the newest, from an index's end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Integer, Text, Uuid

from events import FailureKind, JsonValue, least_id
from storage.sql import typed

MINUTE: Final = 60.0
_MOST: Final = 20_000
_MOST_FOR_NODES: Final = 2_000
_CLOCKS_APART: Final = timedelta(minutes=1)

_ACCEPTED = typed(
    """
    SELECT count(*) FILTER (WHERE received_at > now() - make_interval(secs => :interval)) AS lately,
           count(*) FILTER (WHERE received_at > now() - make_interval(secs => :minute)) AS minute,
           count(*) AS looked_at, extract(epoch FROM now() - min(received_at))::float8 AS reach
    FROM (
        SELECT received_at FROM events
        WHERE tenant = :tenant AND event_id >= :since ORDER BY event_id DESC LIMIT :most
    ) AS newest
    """,
    tenant=Text(),
    since=Uuid(),
    interval=Double(),
    minute=Double(),
    most=Integer(),
)

_RECENT = """
    (SELECT {columns} FROM runs
     WHERE status IN ('succeeded', 'cancelled') AND finished_at > now() - make_interval(secs => :window)
     ORDER BY finished_at DESC LIMIT :most)
    UNION ALL
    (SELECT {columns} FROM runs
     WHERE status = 'failed' AND finished_at > now() - make_interval(secs => :window)
     ORDER BY finished_at DESC LIMIT :most)
"""

_ENDED = typed(
    f"""
    SELECT pipeline,
           count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status <> 'failed' AND age < :interval) AS completed_lately,
           count(*) FILTER (WHERE status <> 'failed' AND age < :minute) AS completed_minute,
           count(*) FILTER (WHERE status = 'failed' AND age < :interval) AS failed_lately,
           count(*) FILTER (WHERE status = 'failed' AND age < :minute) AS failed_minute,
           max(age) FILTER (WHERE status <> 'failed') AS completed_reach,
           max(age) FILTER (WHERE status = 'failed') AS failed_reach,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FILTER (WHERE status = 'succeeded') AS p50,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY took) FILTER (WHERE status = 'succeeded') AS p95
    FROM (
        SELECT pipeline, status, extract(epoch FROM now() - finished_at)::float8 AS age,
               extract(epoch FROM finished_at - created_at)::float8 AS took
        FROM ({_RECENT.format(columns="pipeline, status, created_at, finished_at")}) AS recent
    ) AS timed
    GROUP BY pipeline
    """,  # noqa: S608 - this module's own text
    window=Double(),
    interval=Double(),
    minute=Double(),
    most=Integer(),
)

# A run whose try was retried lately is open now, or has ended since.
_RETRIED = typed(
    f"""
    WITH tried_again AS MATERIALIZED (
        SELECT tenant, run_id FROM runs WHERE status = 'queued' AND attempt > 0
        UNION ALL
        SELECT tenant, run_id FROM runs WHERE status = 'running' AND attempt > 1
        UNION ALL
        SELECT tenant, run_id FROM ({_RECENT.format(columns="tenant, run_id, attempt")}) AS recent WHERE attempt > 1
    )
    SELECT count(*) FILTER (WHERE a.finished_at > now() - make_interval(secs => :interval)) AS lately,
           count(*) FILTER (WHERE a.finished_at > now() - make_interval(secs => :window)) AS minute
    FROM tried_again t JOIN attempts a ON a.tenant = t.tenant AND a.run_id = t.run_id
    WHERE a.outcome = 'retried'
    """,  # noqa: S608 - this module's own text
    window=Double(),
    interval=Double(),
    most=Integer(),
)

_NODES = typed(
    f"""
    WITH seen AS MATERIALIZED (
        {_RECENT.format(columns="tenant, run_id, pipeline")}
        UNION ALL
        (SELECT tenant, run_id, pipeline FROM runs WHERE status = 'running' LIMIT :most)
    )
    SELECT s.pipeline, n.node, count(*) AS count,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY n.duration_seconds) AS p50, max(n.duration_seconds) AS longest
    FROM seen s JOIN node_results n ON n.tenant = s.tenant AND n.run_id = s.run_id
    WHERE n.attempt > 0 AND n.status <> 'skipped' AND n.started_at > now() - make_interval(secs => :window)
    GROUP BY s.pipeline, n.node ORDER BY p50 DESC, longest DESC, s.pipeline, n.node LIMIT :nodes
    """,  # noqa: S608 - this module's own text
    window=Double(),
    most=Integer(),
    nodes=Integer(),
)

_FAILURES = typed(
    """
    SELECT run_id, event_id, pipeline, failure_kind AS kind, error, finished_at FROM runs
    WHERE status = 'failed' AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT :most
    """,
    most=Integer(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Events accepted, runs completed (succeeded or cancelled), failed, and tries retried: each a second."""

    accepted: float
    completed: float
    failed: float
    retried: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRuns:
    """What ended lately of one pipeline, by count; ``p50`` and ``p95`` are seconds from made to succeeded."""

    pipeline: str
    succeeded: int
    cancelled: int
    failed: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTimes:
    """How long a node took lately, in seconds."""

    pipeline: str
    node: str
    count: int
    p50: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that failed for good."""

    run_id: UUID
    event_id: UUID
    pipeline: str
    kind: FailureKind
    error: dict[str, JsonValue] | None
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """``last`` and ``minute``: rates over the interval asked for, and over a minute.

    ``reach``: so many seconds back the counts by pipeline go, which is less than asked for under a high load.
    """

    last: Rates
    minute: Rates
    reach: float
    ended: tuple[EndedRuns, ...]


async def what_ended(
    connection: AsyncConnection, *, tenant: str, now: datetime, interval: float, window: float
) -> Lately:
    """Tell what was accepted and what ended in the last ``interval``, ``MINUTE`` and ``window`` seconds."""
    sides = {"interval": interval, "minute": MINUTE, "most": _MOST}
    since = least_id(now - timedelta(seconds=max(interval, MINUTE)) - _CLOCKS_APART)
    accepted = (await connection.execute(_ACCEPTED, sides | {"tenant": tenant, "since": since})).one()
    ended = (await connection.execute(_ENDED, sides | {"window": max(window, interval)})).all()
    retried = (await connection.execute(_RETRIED, {"interval": interval, "window": MINUTE, "most": _MOST})).one()
    accepted_reach = accepted.reach if accepted.looked_at >= _MOST else float("inf")
    completed_reach = _reach(ended, "completed_reach", sum(row.succeeded + row.cancelled for row in ended))
    failed_reach = _reach(ended, "failed_reach", sum(row.failed for row in ended))

    def rates(name: str, seconds: float) -> Rates:
        def total(kind: str) -> int:
            return sum(getattr(row, f"{kind}_{name}") for row in ended)

        return Rates(
            accepted=getattr(accepted, name) / min(seconds, accepted_reach),
            completed=total("completed") / min(seconds, completed_reach),
            failed=total("failed") / min(seconds, failed_reach),
            retried=getattr(retried, name) / seconds,
        )

    return Lately(
        last=rates("lately", interval),
        minute=rates("minute", MINUTE),
        reach=min(window, completed_reach, failed_reach),
        ended=tuple(
            EndedRuns(
                pipeline=row.pipeline,
                succeeded=row.succeeded,
                cancelled=row.cancelled,
                failed=row.failed,
                p50=row.p50,
                p95=row.p95,
            )
            for row in ended
        ),
    )


def _reach(rows: Sequence[Any], column: str, count: int) -> float:
    """Return how far back the newest rows go, in seconds; for ever where there were no more of them."""
    return max(getattr(row, column) or 0.001 for row in rows) if count >= _MOST else float("inf")


async def slowest_nodes(connection: AsyncConnection, *, window: float, most: int) -> tuple[NodeTimes, ...]:
    """List the nodes that took longest in the last ``window`` seconds, by their median, over the newest runs."""
    rows = await connection.execute(_NODES, {"window": window, "most": _MOST_FOR_NODES, "nodes": most})
    return tuple(NodeTimes(**row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


async def newest_failures(connection: AsyncConnection, *, most: int) -> tuple[Failure, ...]:
    """List the runs that failed for good last."""
    rows = await connection.execute(_FAILURES, {"most": most})
    return tuple(Failure(**dict(row._mapping) | {"kind": FailureKind(row.kind)}) for row in rows)  # noqa: SLF001 - see above
