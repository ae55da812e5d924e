import time

from benchmarks.bench import Bench
from benchmarks.database import Database
from benchmarks.loadgen import quantile
from benchmarks.sections.drain import speed
from benchmarks.sections.idle import REAL_DONE, one_by_one
from benchmarks.stack import Ways

_DELAY = 2.0
_LOOKS = 50


def round_trips(bench: Bench) -> None:
    """Measure the same small run directly and with 2 ms more on every answer of PostgreSQL and Redis."""
    stack = bench.stack
    ports = {server.port: stack.start_delay(server.port, _DELAY) for server in (stack.postgres, stack.redis)}
    far = Ways(
        database_url=stack.through(stack.postgres.url, ports[stack.postgres.port]),
        redis_url=stack.through(stack.redis.url, ports[stack.redis.port]),
    )
    added = _added(stack.postgres.url, far.database_url)
    bench.add("round trip, added", added * 1000, "ms")
    near_p50 = _run(bench, "near", None)
    far_p50 = _run(bench, "far", far)
    bench.add("round trips one after another, idle", (far_p50 - near_p50) / added, "round trips")
    stack.stop("delay")


def _run(bench: Bench, name: str, ways: Ways | None) -> float:
    stack, count = bench.stack, bench.form.round_trips
    stack.start_api(ways)
    sent = bench.send(bench.orders(count=count))
    bench.add(f"ingest 32, {name}", sent.rate)
    stack.start_workers(ways)
    stack.start_relay(ways)
    bench.settle(timeout=120)
    bench.add(f"drain, {name}", speed(bench))
    taken = sorted(one_by_one(bench, stack.api_ports[0], stack.database, 40, look=REAL_DONE, warm=5))
    p50 = quantile(taken, 0.5)
    bench.add(f"idle p50, {name}", p50 * 1000, "ms")
    stack.stop("api", "relay", "worker")
    stack.database.forget_events()
    return p50


def _added(near: str, far: str) -> float:
    """Return what the proxy adds to a round trip, in seconds."""
    return _round_trip(far) - _round_trip(near)


def _round_trip(url: str) -> float:
    database, taken = Database(url), []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        database.value("SELECT 1")
        taken.append(time.perf_counter() - began)
    database.close()
    return quantile(sorted(taken), 0.5)
