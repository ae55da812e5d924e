"""What storage's work costs by how many share it.

A process of its own: its CPU time is the client's, a backend's is PostgreSQL's. Settings come from the environment, the
argument is Redis's pid; what was found goes to standard output as JSON: operation, batch size, cost.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.database import Database
from benchmarks.meter import thread_seconds
from benchmarks.unit_work import Work
from observability.logs import configure_logging
from observability.metrics import null_metrics
from observability.tracing import configure_tracing
from observability.tracing.celery_spans import instrument_celery
from settings import load_settings

SIZES = (1, 4, 16, 64, 256)
MESSAGE_SIZES = (1, 4, 16, 64, 100)
_ROWS = 512
_FEWEST, _MOST = 3, 40
_WARM = 8
_ALONE = 200
_SETTLE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one batch: CPU microseconds of the server and of the client, WAL bytes, microseconds by the clock."""

    server: float
    client: float
    wal: float
    wall: float


Found = dict[str, dict[int, Cost]]


class Meter:
    """Reads before and after a row of batches what they cost."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def each(self, pid: int, batches: Sequence[Callable[[], Awaitable[object]]]) -> Cost:
        """Return the mean cost of the batches, which the server's process ``pid`` serves."""
        wal, server, client, walls = self._wal(), thread_seconds(pid), time.process_time(), list[float]()
        for batch in batches:
            began = time.perf_counter()
            await batch()
            walls.append(time.perf_counter() - began)
        client = time.process_time() - client
        await asyncio.sleep(_SETTLE)
        count = len(batches)
        return Cost(
            server=(thread_seconds(pid) - server) / count * 1e6,
            client=client / count * 1e6,
            wal=(self._wal() - wal) / count,
            wall=statistics.median(walls) * 1e6,
        )

    def _wal(self) -> int:
        return int(self._database.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def measure(work: Work, meter: Meter, redis_pid: int) -> Found:
    """Measure everything, each at every size."""
    found: Found = {}
    await _way(work, meter, size=1, rounds=_WARM)
    for size in SIZES:
        for name, cost in (await _way(work, meter, size=size, rounds=_rounds(size))).items():
            found.setdefault(name, {})[size] = cost
    for size in MESSAGE_SIZES:
        found.setdefault("message", {})[size] = await _messages(work, meter, redis_pid, size)
    for name, once in (("renew", work.renew), ("commit", work.commit), ("round trip", work.round_trip)):
        await once()
        found[name] = {1: await meter.each(work.pids["worker"], [once] * _ALONE)}
    return found


def _rounds(size: int) -> int:
    return max(_FEWEST, min(_MOST, _ROWS // size))


async def _way(work: Work, meter: Meter, *, size: int, rounds: int) -> dict[str, Cost]:
    """Take ``rounds`` batches all the way, one step after another."""
    steps = work.steps(size=size, rounds=rounds)
    return {name: await meter.each(work.pids[kind], batches) for name, kind, batches in steps}


async def _messages(work: Work, meter: Meter, redis_pid: int, size: int) -> Cost:
    """Return the cost of one message of ``size`` runs; the relay sends several in one round trip."""
    sendings = work.sendings(size=size, rounds=12)
    await sendings[0]()
    cost = await meter.each(redis_pid, sendings)
    return Cost(**{name: value / work.together for name, value in asdict(cost).items()})


async def _main(redis_pid: int) -> Found:
    settings = load_settings()
    configure_logging(settings.log, service="units")
    database = Database(settings.database.url.get_secret_value())
    tracing = configure_tracing(settings.telemetry, service="units", metrics=null_metrics())
    instrument_celery()
    work = Work(settings)
    try:
        await work.open()
        return await measure(work, Meter(database), redis_pid)
    finally:
        await work.close()
        database.close()
        tracing.shutdown()


if __name__ == "__main__":
    told = asyncio.run(_main(int(sys.argv[1])))
    print(json.dumps({name: {size: asdict(cost) for size, cost in one.items()} for name, one in told.items()}))  # noqa: T201 - what the driver reads
