"""How the whole system is doing, in one snapshot that costs the same however long the history is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import Integer

from storage.accounting import Balance, balance
from storage.dead import IS_DEAD
from storage.lately import Failure, Lately, NodeTimes, newest_failures, slowest_nodes, what_ended
from storage.records import QueueState
from storage.snapshots import snapshot, time_of
from storage.sql import typed
from storage.standing import queue_states

COUNTED: Final = 10_000
"""What waits for somebody is counted up to here."""

_MOST_ROWS: Final = 100
_MOST_FAILURES: Final = 20

_WORKERS = typed(
    """
    SELECT l.worker, l.cell, l.started_at, l.renewed_at, l.expires_at < now() AS is_late, held.runs
    FROM worker_leases l CROSS JOIN LATERAL (
        SELECT count(*) AS runs FROM runs r WHERE r.status = 'running' AND r.lease_id = l.lease_id
    ) AS held
    WHERE l.ended_at IS NULL ORDER BY l.worker LIMIT :most
    """,
    most=Integer(),
)

_WAITING = typed(
    f"""
    SELECT (SELECT count(*) FROM (SELECT FROM runs r WHERE {IS_DEAD.format(r="r")} LIMIT :most) AS d) AS dead,
           (SELECT count(*) FROM (
               SELECT FROM events e WHERE routes = 0 AND NOT EXISTS (
                   SELECT FROM runs n WHERE n.tenant = e.tenant AND n.event_id = e.event_id
               ) LIMIT :most
           ) AS u) AS unrouted
    """,  # noqa: S608 - this module's own text
    most=Integer(),
)

_RUNNING = typed("SELECT pipeline, count(*) AS runs FROM runs WHERE status = 'running' GROUP BY pipeline")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveWorker:
    """A worker process whose lease nobody has ended: how many ``runs`` it holds, and whether its renewal is late."""

    worker: str
    cell: bool
    started_at: datetime
    renewed_at: datetime
    is_late: bool
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The system at the moment ``at``. ``running``: runs under way, by pipeline. ``dead`` and ``unrouted`` stop at
    ``COUNTED``.
    """

    at: datetime
    interval: float
    lately: Lately
    queues: tuple[QueueState, ...]
    workers: tuple[LiveWorker, ...]
    running: dict[str, int]
    nodes: tuple[NodeTimes, ...]
    failures: tuple[Failure, ...]
    dead: int
    unrouted: int
    account: Balance


async def look_around(engine: AsyncEngine, *, tenant: str, interval: float, window: float, within: float) -> Overview:
    """Look at everything, in one read-only transaction: the last ``interval`` and ``window`` seconds, and what is open.

    Raises:
        DatabaseUnavailable: PostgreSQL is away, or it took longer than ``within`` seconds.

    """
    async with snapshot(engine, within=within) as connection:
        now = await time_of(connection)
        waiting = (await connection.execute(_WAITING, {"most": COUNTED})).one()
        return Overview(
            at=now,
            interval=interval,
            lately=await what_ended(connection, tenant=tenant, now=now, interval=interval, window=window),
            queues=tuple(sorted(await queue_states(connection), key=lambda state: state.queue)),
            workers=await _workers(connection),
            running={row.pipeline: row.runs for row in await connection.execute(_RUNNING)},
            nodes=await slowest_nodes(connection, window=window, most=_MOST_ROWS),
            failures=await newest_failures(connection, most=_MOST_FAILURES),
            dead=waiting.dead,
            unrouted=waiting.unrouted,
            account=await balance(connection),
        )


async def _workers(connection: AsyncConnection) -> tuple[LiveWorker, ...]:
    rows = await connection.execute(_WORKERS, {"most": _MOST_ROWS})
    return tuple(LiveWorker(**row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping
