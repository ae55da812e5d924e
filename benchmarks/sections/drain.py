import subprocess
import sys
import time
from collections.abc import Mapping

import redis

from benchmarks.bench import Bench
from benchmarks.memory import note_memory, resident
from benchmarks.references.environment import QUEUE

_TRIM = 0.02
_SPEED = """
    SELECT count(*) / extract(epoch FROM max(finished_at) - min(started_at))::float8
    FROM runs WHERE status = 'succeeded'
"""
_STEADY_SPEED = """
    SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at))::float8
    FROM (SELECT finished_at, ntile(50) OVER (ORDER BY finished_at) AS part FROM runs WHERE status = 'succeeded') AS r
    WHERE part BETWEEN 2 AND 49
"""


def drain(bench: Bench) -> None:
    """Work off a backlog that was there before the workers, in turn with bare Celery working off its own."""
    for _ in range(bench.form.repetitions):
        if bench.form.references:
            _bare_celery(bench)
        _drain(bench, "drain", type_="bench.three", count=bench.form.drain, traced=True)
    _drain(bench, "drain with effects", type_="bench.effects", count=bench.form.drain // 3, traced=False)


def _drain(bench: Bench, name: str, *, type_: str, count: int, traced: bool) -> None:
    stack = bench.stack
    stack.sink.reset()
    empty = stack.database.rows()
    make_backlog(bench, count, type_=type_)
    written = stack.database.rows()
    stack.start_workers()
    memory = resident(bench)
    with bench.costing(name, lambda: count):
        stack.let_relay_go()
        bench.settle(timeout=60 + count / 50)
    bench.add(name, speed(bench))
    bench.add(f"{name}, steady part", steady_speed(bench))
    note_memory(bench, name, memory)
    if traced:
        bench.check_spans(name, events=count)
    stack.stop("relay", "worker")
    after = stack.database.rows()
    for what, amount in (
        ("WAL", after.wal - written.wal),
        ("rows inserted", after.inserted - written.inserted),
        ("rows updated", after.updated - written.updated),
    ):
        bench.add(f"{name} {what}", amount / count, "bytes/event" if what == "WAL" else "rows/event")
    bench.add(f"{name} size in PostgreSQL", (after.size - empty.size) / count, "bytes/event")
    stack.database.forget_events()


def make_backlog(
    bench: Bench, count: int, *, type_: str, wait: float = 0.0, relay: Mapping[str, str] | None = None
) -> None:
    """Send events while the relay, which is up from then on with such ``relay`` settings, is held back."""
    bench.stack.start_api()
    bench.stack.start_relay(settings=relay)
    bench.stack.hold_relay()
    bench.send(bench.orders(count=count, type_=type_, wait=wait))
    bench.stack.stop("api")


def speed(bench: Bench) -> float:
    """Return events a second from the first claim to the last finish."""
    return float(bench.stack.database.value(_SPEED))


def steady_speed(bench: Bench) -> float:
    """Return events a second without the first and the last fiftieth."""
    return float(bench.stack.database.value(_STEADY_SPEED))


def _bare_celery(bench: Bench) -> None:
    stack, count = bench.stack, bench.form.celery
    argv = [sys.executable, "-m", "benchmarks.references.bare_celery", str(count)]
    said = subprocess.run(argv, env=stack.environment(), check=True, stdout=subprocess.PIPE)
    bench.add("bare Celery publish", count / float(said.stdout))
    with redis.Redis.from_url(stack.redis_url(1)) as client:
        client.delete("unacked", "unacked_index")
        stack.start_celery("bare-celery", "benchmarks.references.bare_celery", "--prefetch-multiplier=4")
        bench.add("bare Celery consume", _consumption(client, count))
        stack.stop("bare-celery")
        client.flushdb()


def _consumption(client: "redis.Redis", count: int) -> float:
    """Return messages a second, once both children are at work and until the queue is empty."""
    begin, began, left = count * (1 - _TRIM * 2), 0.0, count
    deadline = time.monotonic() + 60 + count / 100
    while left:
        left = int(client.llen(QUEUE)) + int(client.hlen("unacked"))
        if not began and left <= begin:
            began, begin = time.perf_counter(), left
        if time.monotonic() > deadline:
            raise TimeoutError("bare Celery did not work off its queue")
        time.sleep(0.01)
    return begin / (time.perf_counter() - began)
