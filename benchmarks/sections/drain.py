import subprocess
import sys
import time

import redis

from benchmarks.bench import Bench
from benchmarks.meter import resident_mib
from benchmarks.references.environment import QUEUE

_TRIM = 0.02
_SPEED = """
    SELECT count(*), extract(epoch FROM max(finished_at) - min(started_at))::float8,
           percentile_cont(%(first)s) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at)),
           percentile_cont(%(last)s) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at))
    FROM runs WHERE status = 'succeeded'
"""


def drain(bench: Bench) -> None:
    """Work off a backlog that was there before the workers, in turn with bare Celery working off its own."""
    for _ in range(bench.form.repetitions):
        _bare_celery(bench)
        _drain(bench, "drain", type_="bench.three", count=bench.form.drain, traced=True)
    _drain(bench, "drain with effects", type_="bench.effects", count=bench.form.drain // 3, traced=False)


def _drain(bench: Bench, name: str, *, type_: str, count: int, traced: bool) -> None:
    stack = bench.stack
    stack.sink.reset()
    make_backlog(bench, count, type_=type_)
    written = stack.database.rows()
    stack.start_workers()
    memory = {kind: resident_mib(pid) for kind, pid in stack.pids.items()}
    with bench.costing(name, lambda: count):
        stack.let_relay_go()
        bench.settle(timeout=60 + count / 50)
    bench.add(name, speed(bench))
    _note_memory(bench, name, memory)
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
    bench.add(f"{name} size in PostgreSQL", after.size / count, "bytes/event")
    stack.database.forget_events()


def make_backlog(bench: Bench, count: int, *, type_: str, wait: float = 0.0) -> None:
    """Send events while the relay, which is up from then on, is held back."""
    bench.stack.start_api()
    bench.stack.start_relay()
    bench.stack.hold_relay()
    bench.send(bench.orders(count=count, type_=type_, wait=wait))
    bench.stack.stop("api")


def speed(bench: Bench) -> float:
    """Return events a second from the first claim to the last finish."""
    count, seconds, first, last = bench.stack.database.row(_SPEED, first=_TRIM, last=1 - _TRIM)
    bench.results.facts["drain in the steady part"] = count * (1 - 2 * _TRIM) / max(float(last - first), 1e-9)
    return float(count / seconds)


def _note_memory(bench: Bench, name: str, before: dict[str, float]) -> None:
    stack = bench.stack
    after = {kind: resident_mib(pid) for kind, pid in stack.pids.items()}
    bench.results.facts[f"memory, {name}"] = {
        kind: {"before MiB": round(before.get(kind, 0.0), 1), "after MiB": round(size, 1)}
        for kind, size in after.items()
    }
    with redis.Redis.from_url(stack.redis_url(0)) as client:
        info = client.info("memory")
        bench.results.facts[f"Redis, {name}"] = {
            "used MiB": round(info["used_memory"] / 2**20, 1),
            "peak MiB": round(info["used_memory_peak"] / 2**20, 1),
            "keys": client.dbsize(),
        }


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
