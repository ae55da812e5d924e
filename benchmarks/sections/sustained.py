import time
from collections.abc import Callable
from datetime import datetime

from benchmarks.bench import Bench
from benchmarks.loadgen import Orders
from benchmarks.memory import note_memory, resident
from benchmarks.sections.idle import PLAIN_DONE, one_by_one
from benchmarks.sections.plain import WORKER, forget_plain, plain_database
from benchmarks.stack import read_sent

_BOUND = 600
_PLAIN_BOUND = 150
_POLL = 0.05

_REAL = """
    SELECT count(*) FILTER (WHERE finished_at >= %(begin)s AND finished_at < %(end)s AND status = 'succeeded'),
           count(*) FILTER (WHERE created_at < %(begin)s AND (finished_at IS NULL OR finished_at >= %(begin)s)),
           count(*) FILTER (WHERE created_at < %(end)s AND (finished_at IS NULL OR finished_at >= %(end)s))
    FROM runs
"""
_PLAIN = """
    SELECT count(*) FILTER (WHERE finished_at >= %(begin)s AND finished_at < %(end)s),
           count(*) FILTER (WHERE created_at < %(begin)s AND (finished_at IS NULL OR finished_at >= %(begin)s)),
           count(*) FILTER (WHERE created_at < %(end)s AND (finished_at IS NULL OR finished_at >= %(end)s))
    FROM plain_events
"""
_PLAIN_OPEN = "SELECT count(*) FROM plain_events WHERE finished_at IS NULL"


def sustained(bench: Bench) -> None:
    """Ingest and work at once; the senders are held back while the backlog is over a bound, so that it doesn't grow."""
    for _ in range(bench.form.repetitions):
        if bench.form.references:
            _plain(bench)
        _real(bench)


def _real(bench: Bench) -> None:
    stack, database = bench.stack, bench.stack.database
    stack.sink.reset()
    stack.start_api()
    stack.start_workers()
    stack.start_relay()
    accepted, memory = 0, resident(bench)
    with bench.costing("sustained", lambda: accepted):
        begin, end, accepted = _pressed(
            bench, bench.orders(seconds=_window(bench) + 2.0), database.open_runs, bound=_BOUND
        )
        bench.settle(timeout=60.0)
    _note(bench, "sustained", database.row(_REAL, begin=begin, end=end), (end - begin).total_seconds())
    note_memory(bench, "sustained", memory)
    bench.check_spans("sustained", events=accepted)
    stack.stop("api", "relay", "worker")
    database.forget_events()


def _plain(bench: Bench) -> None:
    stack = bench.stack
    port = stack.start_reference_api("plain")
    stack.start_celery("plain-worker", WORKER)
    database = plain_database(stack)
    open_events: Callable[[], int] = lambda: int(database.value(_PLAIN_OPEN))  # noqa: E731 - a query as a look
    one_by_one(bench, port, database, 4, look=PLAIN_DONE, warm=0)
    orders, accepted = bench.orders(seconds=_window(bench) + 2.0, ports=(port,)), 0
    with bench.costing("plain sustained", lambda: accepted):
        begin, end, accepted = _pressed(bench, orders, open_events, bound=_PLAIN_BOUND)
        deadline = time.monotonic() + 60.0
        while open_events() and time.monotonic() < deadline:
            time.sleep(_POLL)
    _note(bench, "plain sustained", database.row(_PLAIN, begin=begin, end=end), (end - begin).total_seconds())
    database.close()
    stack.stop("plain")
    forget_plain(stack)


def _window(bench: Bench) -> float:
    return bench.form.seconds * 1.5


def _pressed(
    bench: Bench, orders: Orders, open_events: Callable[[], int], *, bound: int
) -> tuple[datetime, datetime, int]:
    """Send under the bound; return when the measured window began and ended, and how many were accepted."""
    database, paused = bench.stack.database, False
    with bench.stack.sending(orders) as process:
        assert process.stdin is not None
        began = time.monotonic()
        begin: datetime | None = None
        while process.poll() is None and (begin is None or time.monotonic() - began < orders.seconds + 1.0):
            left = open_events()
            if left < bound / 2 if paused else left > bound:
                paused = not paused
                process.stdin.write(b"p" if paused else b"r")
                process.stdin.flush()
            if begin is None and time.monotonic() - began > 2.0:
                begin = database.value("SELECT clock_timestamp()")
            elif begin is not None and time.monotonic() - began > orders.seconds - 0.2:
                break
            time.sleep(_POLL)
        end = database.value("SELECT clock_timestamp()")
        if process.poll() is None:
            process.stdin.write(b"r")
            process.stdin.flush()
        sent = read_sent(process)
    if sent.refused or sent.broken:
        bench.results.complain(f"sustained: refused {sent.refused}, broken {sent.broken}")
    return begin or end, end, sent.accepted


def _note(bench: Bench, name: str, found: tuple[int, ...], seconds: float) -> None:
    done, at_begin, at_end = found
    bench.add(name, done / seconds)
    bench.results.facts[f"{name}, backlog"] = {"at the window's begin": at_begin, "at its end": at_end}
    bench.say(f"{name}, backlog: {at_begin} at the window's begin, {at_end} at its end")
