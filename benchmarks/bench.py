import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.flow import NODES
from benchmarks.loadgen import Orders, Sent
from benchmarks.meter import each_cpu
from benchmarks.results import Results
from benchmarks.sink_client import SinkClient
from benchmarks.stack import BenchStack
from throughline.errors import StackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How long everything takes. ``turn`` is how many events each way of handling telemetry has at a time."""

    name: str
    repetitions: int
    seconds: float
    drain: int
    celery: int
    idle: int
    references: bool = True
    waiting: int = 2000
    round_trips: int = 1000
    turn: int = 6000


QUICK = Form(name="quick", repetitions=1, seconds=3.0, drain=6_000, celery=4_000, idle=100, turn=3_000)
FULL = Form(name="full", repetitions=3, seconds=6.0, drain=50_000, celery=12_000, idle=200)


@dataclass(slots=True, kw_only=True)
class Bench:
    """What every section works with."""

    form: Form
    stack: BenchStack
    results: Results
    say: Callable[[str], None]
    _names: Iterator[int] = field(default_factory=itertools.count)
    _nonce: str = field(default_factory=lambda: secrets.token_hex(4))

    def add(self, name: str, value: float, unit: str = "events/s") -> None:
        """Note a value, and show it."""
        self.results.add(name, value, unit)
        self.say(f"{name}: {value:,.1f} {unit}" if value < 100 else f"{name}: {value:,.0f} {unit}")

    def orders(  # noqa: PLR0913 - all keyword-only, with defaults
        self,
        *,
        connections: int = 32,
        seconds: float = 0.0,
        count: int = 0,
        type_: str = "bench.three",
        wait: float = 0.0,
        batch: int = 0,
        ports: tuple[int, ...] = (),
    ) -> Orders:
        """Make orders for events that were never sent before."""
        return Orders(
            ports=ports or self.stack.api_ports,
            connections=connections,
            type=type_,
            source=f"bench-{self._nonce}-{next(self._names)}",
            seconds=seconds,
            count=count,
            wait=wait,
            batch=batch,
        )

    def send(self, orders: Orders) -> Sent:
        """Send; whatever isn't accepted makes the run worthless, and so does a generator that is the bottleneck."""
        sent = self.stack.send(orders)
        if sent.refused or sent.broken:
            self.results.complain(f"{orders.connections} connections: refused {sent.refused}, broken {sent.broken}")
        if not sent.accepted:
            raise StackError("nothing was accepted; the logs say why")
        return sent

    @contextmanager
    def costing(self, what: str, events: Callable[[], int]) -> Iterator[None]:
        """Note what the block costs each process for each of the events."""
        before = each_cpu(self.stack.pids)
        yield
        after = each_cpu(self.stack.pids)
        used = {name: after[name] - before.get(name, 0.0) for name in after}
        self.results.cost(what, used, events=max(1, events()))

    def settle(self, *, timeout: float) -> None:
        """Wait until no run is open.

        Raises:
            StackError: they are after so many seconds.

        """
        deadline = time.monotonic() + timeout
        while left := self.stack.database.open_runs():
            if time.monotonic() > deadline:
                raise StackError(f"{left} runs are still open after {timeout:g} s; the logs say why")
            time.sleep(0.05)

    def check_spans(self, what: str, *, events: int) -> None:
        """See that every span of events that went all the way has come, and note how many of how many."""
        self._check(what, {"POST /events": events, "process bench_three": events} | dict.fromkeys(NODES, events))

    def check_posts(self, what: str, *, posts: int) -> None:
        """See that every request's span has come."""
        self._check(what, {"POST /events": posts})

    def check_accepts(self, what: str, *, posts: int, events: int) -> None:
        """See that every request's span has come, and every event's of those that they brought."""
        self._check(what, {"POST /events": posts, "accept": events})

    def _check(self, what: str, expected: dict[str, int]) -> None:
        if self.stack.knobs.traces == "1.0":
            self.check_names(what, expected, sink=self.stack.sink)

    def check_names(self, what: str, expected: dict[str, int], *, sink: SinkClient) -> None:
        """See that so many spans of each name have come to a collector."""
        came = sink.await_names(expected)
        wanted, events = sum(expected.values()), max(expected.values())
        there = sum(min(came.names.get(name, 0), count) for name, count in expected.items())
        self.results.facts[f"spans, {what}"] = {
            "expected": wanted,
            "received": there,
            "per event": came.spans / events,
            "bytes per event": came.bytes / events,
            "traces": came.traces,
        }
        self.say(f"spans, {what}: {there:,} of {wanted:,} received; {came.spans / events:.2f} an event in all")
        if there != wanted:
            self.results.complain(f"{what}: {wanted - there} of {wanted} spans did not arrive: {came.names}")
