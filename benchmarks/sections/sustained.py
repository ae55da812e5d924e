import subprocess
import time
from collections.abc import Callable
from datetime import datetime

from benchmarks.bench import Bench
from benchmarks.loadgen import Orders
from benchmarks.memory import note_memory, resident
from benchmarks.sections.batches import mean_batches
from benchmarks.sections.idle import PLAIN_DONE, one_by_one
from benchmarks.sections.plain import WORKER, forget_plain, plain_database
from benchmarks.stack import read_sent

_BOUND = 600
_PLAIN_BOUND = 150
_POLL = 0.05
_LEAD = 2.0
"""Seconds before the window: the system is then at its pace."""
_LAG = 0.2
"""Seconds by which the window ends before the senders do."""

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
            bench, bench.orders(seconds=_window(bench) + _LEAD), database.open_runs, bound=_BOUND
        )
        bench.settle(timeout=60.0)
    _note(bench, "sustained", database.row(_REAL, begin=begin, end=end), (end - begin).total_seconds())
    bench.results.facts["sustained, events a batch"] = mean_batches(bench)
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
    orders, accepted = bench.orders(seconds=_window(bench) + _LEAD, ports=(port,)), 0
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


class _Brake:
    """Holds the load generator back while more than ``bound`` are open, until it is half of that."""

    def __init__(self, process: "subprocess.Popen[bytes]", bound: int) -> None:
        self._process = process
        self._bound = bound
        self._paused = False

    def look(self, left: int) -> None:
        """Tell the generator what so many open ones call for."""
        wanted = left >= self._bound / 2 if self._paused else left > self._bound
        if wanted is not self._paused:
            self._tell(paused=wanted)

    def release(self) -> None:
        """Let it come to its end."""
        self._tell(paused=False)

    def _tell(self, *, paused: bool) -> None:
        self._paused = paused
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(b"p" if paused else b"r")
            self._process.stdin.flush()


def _pressed(
    bench: Bench, orders: Orders, open_events: Callable[[], int], *, bound: int
) -> tuple[datetime, datetime, int]:
    """Send under the bound; return when the measured window began and ended, and how many were accepted."""
    with bench.stack.sending(orders) as process:
        brake, began = _Brake(process, bound), time.monotonic()
        _hold(brake, open_events, until=began + _LEAD)
        begin = bench.stack.database.value("SELECT clock_timestamp()")
        _hold(brake, open_events, until=began + orders.seconds - _LAG)
        end = bench.stack.database.value("SELECT clock_timestamp()")
        brake.release()
        sent = read_sent(process)
    if sent.refused or sent.broken:
        bench.results.complain(f"sustained: refused {sent.refused}, broken {sent.broken}")
    return begin, end, sent.accepted


def _hold(brake: _Brake, open_events: Callable[[], int], *, until: float) -> None:
    while time.monotonic() < until:
        brake.look(open_events())
        time.sleep(_POLL)


def _note(bench: Bench, name: str, found: tuple[int, ...], seconds: float) -> None:
    done, at_begin, at_end = found
    bench.add(name, done / seconds)
    bench.results.facts[f"{name}, backlog"] = {"at the window's begin": at_begin, "at its end": at_end}
    bench.say(f"{name}, backlog: {at_begin} at the window's begin, {at_end} at its end")
