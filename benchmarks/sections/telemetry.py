import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.bench import Bench
from benchmarks.loadgen import quantile
from benchmarks.meter import each_cpu
from benchmarks.sections.drain import speed
from benchmarks.sections.idle import REAL_DONE, one_by_one
from benchmarks.sink_client import SinkClient
from benchmarks.span_accounts import SpanAccount, account_of, plausible_traces
from benchmarks.telemetry_ways import SHARE, Way, start_ways

_ALONE: Final = 20
_WARM: Final = 2
_FIRST: Final = 400
_PATIENCE: Final = 60.0
"""Seconds: twice what it takes to give a full queue up, export by export."""


def telemetry(bench: Bench) -> None:
    """Ingest and drain with telemetry on, sampled and off, and with a collector slow or dead, in short turns."""
    with _refused_port() as port:
        ways = start_ways(bench.stack, dead_port=port)
        _warm_up(bench, ways)
        for _ in range(bench.form.repetitions):
            for way in ways:
                _turn(bench, way)
        for way in reversed(ways):
            _note(bench, way)
            _check(bench, way)
    bench.stack.stop("api", "worker", "sink-")


@contextmanager
def _refused_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def _warm_up(bench: Bench, ways: list[Way]) -> None:
    """Let every process do its work once, and PostgreSQL meet every statement."""
    stack = bench.stack
    stack.start_relay(settings=ways[-1].settings)
    for way in ways:
        way.events += bench.send(bench.orders(count=_FIRST, type_=way.type, ports=way.ports)).accepted
    bench.settle(timeout=60)
    stack.stop("relay")
    stack.database.forget_events()


def _turn(bench: Bench, way: Way) -> None:
    stack, count = bench.stack, bench.form.turn
    stack.start_relay(settings=way.settings)
    stack.hold_relay()
    with _costing(bench, way, "ingest"):
        sent = bench.send(bench.orders(count=count, type_=way.type, ports=way.ports))
    bench.add(f"ingest, {way.title}", sent.rate)
    bench.add(f"ingest p99, {way.title}", sent.p99 * 1000, "ms")
    with _costing(bench, way, "drain"):
        stack.let_relay_go()
        bench.settle(timeout=60 + count / 50)
    bench.add(f"drain, {way.title}", speed(bench))
    way.alone += one_by_one(bench, way.ports[0], stack.database, _ALONE, look=REAL_DONE, warm=_WARM, type_=way.type)
    way.events += count + _ALONE + _WARM
    stack.stop("relay")
    stack.database.forget_events()


@contextmanager
def _costing(bench: Bench, way: Way, what: str) -> Iterator[None]:
    pids = way.own(bench.stack.pids)
    before = each_cpu(pids)
    yield
    way.spend(what, {name: seconds - before[name] for name, seconds in each_cpu(pids).items()})


def _note(bench: Bench, way: Way) -> None:
    for what, used in way.used.items():
        bench.results.cost(f"{what}, {way.title}", used, events=bench.form.turn * bench.form.repetitions)
    bench.add(f"idle p50, {way.title}", quantile(sorted(way.alone), 0.5) * 1000, "ms")


def _check(bench: Bench, way: Way) -> None:
    """See that what is sampled has come, or was counted as dropped: no span is lost without a word."""
    match way.key, way.sink:
        case "on", SinkClient() as sink:
            bench.check_names(way.title, dict.fromkeys(way.span_names, way.events), sink=sink)
            _all_told(bench, way, drops=False)
        case "sampled", SinkClient() as sink:
            _share_came(bench, way, sink)
        case (("dead" | "slow"), _):
            _all_told(bench, way, drops=True)


def _share_came(bench: Bench, way: Way, sink: SinkClient) -> None:
    bench.stack.stop(f"api-{way.key}", f"worker-{way.key}")
    names, (low, high) = sink.counts().names, plausible_traces(way.events, SHARE)
    came = [names.get(name, 0) for name in way.span_names]
    bench.results.facts[f"spans, {way.title}"] = {"events": way.events, "traces": came[0]}
    bench.say(f"spans, {way.title}: {came[0]:,} traces of {way.events:,} events")
    if len(set(came)) != 1 or not low <= came[0] <= high:
        bench.results.complain(f"{way.title}: {low:,.0f} to {high:,.0f} whole traces were expected: {names}")


def _all_told(bench: Bench, way: Way, *, drops: bool) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (account := _account(bench, way)).untold and time.monotonic() < deadline:
        time.sleep(0.5)
    told = {"expected": account.expected, "exported": account.exported, "dropped": account.dropped}
    bench.results.facts[f"span account, {way.title}"] = told
    bench.say(f"spans of API and workers, {way.title}: {told}")
    if account.untold or bool(account.dropped) is not drops:
        bench.results.complain(
            f"{way.title}: spans lost without a word, or dropped or kept against expectation: {told}"
        )


def _account(bench: Bench, way: Way) -> SpanAccount:
    names = [name for name in way.own(bench.stack.pids) if name.startswith(("api", "worker"))]
    pages = [bench.stack.metrics(name) for name in names]
    return account_of(pages, expected=way.events * len(way.span_names))
