"""The collector with the configuration that we ship: what it keeps, and what it makes of log lines."""

import io
import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from opentelemetry.trace import format_trace_id

from events import ErrorInfo
from observability.logs import configure_logging, get_logger
from observability.tracing import (
    LinkReason,
    Made,
    RunIds,
    Tracing,
    accept_span,
    configure_tracing,
    context_from,
    emit_run_span,
    links_to,
    node_span,
    replay_span,
    run_span,
    server_span,
    set_outcome,
    traceparent_of,
)
from settings import LogSettings, TelemetrySettings
from tests.support.collector import CONFIG, Collector, FakeLoki, collector, fake_loki, program
from tests.support.otlp import OtlpReceiver, SpanRecord, is_connected, otlp_receiver

pytestmark = pytest.mark.verify

PLAIN = 400
PERCENT = 10
SLOW_MS = 500


@dataclass(frozen=True)
class Running:
    collector: Collector
    tempo: OtlpReceiver
    loki: FakeLoki


@dataclass(frozen=True)
class Origin:
    """The span that an event's runs are children of."""

    traceparent: str
    trace_id: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        tempo, loki = stack.enter_context(otlp_receiver()), stack.enter_context(fake_loki())
        made = stack.enter_context(
            collector(
                tmp_path_factory.mktemp("collector"),
                tempo=tempo.endpoint,
                loki=loki.endpoint,
                TRACE_DECISION_WAIT="2s",
                TRACE_SLOW_MS=str(SLOW_MS),
                TRACE_KEEP_PERCENT=str(PERCENT),
            )
        )
        yield Running(made, tempo, loki)


def test_the_collector_takes_the_configuration_as_the_stack_has_it() -> None:
    done = subprocess.run(
        [program(), "validate", f"--config={CONFIG}"], capture_output=True, text=True, timeout=60, env={}, check=False
    )
    assert done.returncode == 0, done.stderr


def run(*, attempt: int = 1) -> RunIds:
    return RunIds(
        run_id="01a21327-9d48-731a-9f34-fbe137706b6c",
        event_id="01a21327-9d48-731a-9f34-fbdf08f794c0",
        event_type="shop.order_placed",
        pipeline="receipts",
        attempt=attempt,
        queue="default",
    )


def trace(*, outcome: str = "succeeded", attempt: int = 1, took: float = 0.0, error: bool = False) -> str:
    """Make the spans of one event, from the request to the node, as the processes make them; return the trace's id."""
    began = time.time_ns() - int(took * 1e9)
    with (
        server_span("POST", "/events", start_time=began) as server,
        accept_span("01a21327-9d48-731a-9f34-fbdf08f794c0", "shop.order_placed", tenant="default") as accept,
    ):
        set_outcome(accept, "accepted")
        origin = traceparent_of(accept)
    with run_span(run(attempt=attempt), context=context_from(origin)) as process:
        with node_span("write_receipt", pipeline="receipts", run_id="r", attempt=attempt):
            pass
        set_outcome(process, outcome, ErrorInfo(type="Permanent", message="never") if error else None)
    return format_trace_id(server.get_span_context().trace_id)


def replayed() -> str:
    with replay_span("r", event_id="e", pipeline="receipts", tenant="default", origin=None) as replay:
        origin = traceparent_of(replay)
    with run_span(run(), context=context_from(origin)) as process:
        set_outcome(process, "succeeded")
    return format_trace_id(replay.get_span_context().trace_id)


def lost() -> str:
    """A worker died: a relay makes the span that it could not."""
    with accept_span("e", "shop.order_placed", tenant="default") as accept:
        origin = traceparent_of(accept)
    now = time.time_ns()
    made = Made(span_id="00f067aa0ba902b7", began=now - 1000, ended=now, process="w#1", outcome="lost")
    emit_run_span(run(), made, context=context_from(origin), links=links_to([origin], reason=LinkReason.RETRY_OF))
    return format_trace_id(accept.get_span_context().trace_id)


SPECIAL: dict[str, tuple[Callable[[], str], int]] = {
    "failed": (lambda: trace(outcome="failed", error=True), 4),
    "retried": (lambda: trace(outcome="retried"), 4),
    "handed back": (lambda: trace(outcome="handed_back"), 4),
    "cancelled": (lambda: trace(outcome="cancelled"), 4),
    "tried again": (lambda: trace(attempt=2), 4),
    "slow": (lambda: trace(took=2 * SLOW_MS / 1000), 4),
    "replayed": (replayed, 2),
    "lost": (lost, 2),
}
"""How each is made, and of how many spans it is."""


@pytest.fixture
def tracing(running: Running) -> Iterator[Tracing]:
    """Ours, as a process has it, to the collector."""
    made = configure_tracing(TelemetrySettings(endpoint=running.collector.otlp), service="worker")
    yield made
    made.shutdown()
    configure_tracing(TelemetrySettings(), service="test")


def test_what_is_out_of_the_ordinary_is_kept_whole_and_of_the_rest_a_share(running: Running, tracing: Tracing) -> None:
    plain = {trace() for _ in range(PLAIN)}
    special = {name: {make() for _ in range(5)} for name, (make, _) in SPECIAL.items()}
    assert tracing.force_flush()
    wanted = {one for made in special.values() for one in made}

    def all_came(spans: tuple[SpanRecord, ...]) -> bool:
        came = {span.trace_id for span in spans}
        return wanted <= came and len(came & plain) >= PLAIN * PERCENT / 100 / 3

    running.tempo.wait_until(all_came, timeout=30)
    for name, made in special.items():
        for one in made:
            spans = running.tempo.trace(one)
            assert len(spans) == SPECIAL[name][1], name
            assert is_connected(spans), name
    kept = {span.trace_id for span in running.tempo.spans} & plain
    assert len(kept) <= PLAIN * PERCENT / 100 * 3, "the rest by its share"
    assert all(len(running.tempo.trace(one)) == 4 for one in kept), "whole, too"


def taken(*, runs: int = 0) -> Origin:
    """Make the spans of an event of which so many runs have ended well."""
    with accept_span("e", "shop.order_placed", tenant="default") as accept:
        set_outcome(accept, "accepted")
    origin = Origin(traceparent_of(accept) or "", format_trace_id(accept.get_span_context().trace_id))
    for _ in range(runs):
        end_run(origin, "succeeded")
    return origin


def end_run(origin: Origin, outcome: str) -> None:
    with run_span(run(), context=context_from(origin.traceparent)) as process:
        set_outcome(process, outcome, None if outcome == "succeeded" else ErrorInfo(type="Permanent", message="never"))


def decide(running: Running, tracing: Tracing) -> None:
    """Wait until what was sent so far is decided: it is when a trace is kept that came later."""
    assert tracing.force_flush()
    later = trace(outcome="failed", error=True)
    assert tracing.force_flush()
    running.tempo.wait_until(lambda spans: any(span.trace_id == later for span in spans), timeout=30)


def test_an_event_whose_run_had_not_ended_at_the_decision_is_kept_whole(running: Running, tracing: Tracing) -> None:
    origins = [taken() for _ in range(20)]
    decide(running, tracing)
    for number, origin in enumerate(origins):
        end_run(origin, "failed" if number % 2 else "succeeded")
    assert tracing.force_flush()
    ids = {origin.trace_id for origin in origins}
    running.tempo.wait_until(lambda spans: ids <= ended(spans), timeout=30)
    assert all(is_connected(running.tempo.trace(one)) for one in ids)


def test_a_failure_is_kept_though_its_trace_was_let_go(running: Running, tracing: Tracing) -> None:
    """As where another run of the event had ended well before the decision: what comes later is judged by itself."""
    origins = [taken(runs=1) for _ in range(20)]
    decide(running, tracing)
    before = {span.trace_id for span in running.tempo.named("accept")}
    gone = [origin for origin in origins if origin.trace_id not in before]
    assert len(gone) > 10, "most were let go"
    for origin in gone:
        end_run(origin, "failed")
    assert tracing.force_flush()
    ids = {origin.trace_id for origin in gone}
    # The last one that was let go is remembered as such.
    running.tempo.wait_until(lambda spans: len(ids - ended(spans)) <= 1, timeout=30)


def ended(spans: tuple[SpanRecord, ...]) -> set[str]:
    return {span.trace_id for span in spans if span.name == "process receipts"}


def packed(value: str | int | dict[str, str]) -> bytes:
    """Write MessagePack, as much of it as the protocol wants."""
    if isinstance(value, int):
        return b"\xce" + struct.pack(">I", value)
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(packed(part) for pair in value.items() for part in pair)
    text = value.encode()
    return b"\xda" + struct.pack(">H", len(text)) + text


def write_lines(running: Running, tag: str, lines: list[str]) -> None:
    """Send lines as Docker's fluentd driver does, one message each."""
    with socket.create_connection(running.collector.fluent, timeout=5) as connection:
        for line in lines:
            record = {
                "container_id": "c0ffee",
                "container_name": "/throughline-worker-1",
                "source": "stderr",
                "log": line,
            }
            connection.sendall(b"\x93" + packed(tag) + packed(int(time.time())) + packed(record))


def our_line(**fields: object) -> str:
    """A line as a process writes it."""
    stream = io.StringIO()
    configure_logging(LogSettings(format="json"), service="worker", stream=stream)
    get_logger("test").warning("run ended", **fields)
    return stream.getvalue().strip()


def test_a_line_of_ours_arrives_as_it_was_with_its_ids_its_time_and_its_service(running: Running) -> None:
    ids = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}
    ours = our_line(**ids, run_id="01a21327-9d48-731a-9f34-fbe137706b6c", pipeline="receipts")
    write_lines(running, "throughline-worker", [ours])
    write_lines(running, "throughline-api", [our_line(status=503)])
    lines = running.loki.wait_until(lambda lines: any("503" in line.body for line in lines) and len(lines) >= 2)
    (line,) = (line for line in lines if line.body == ours)
    assert line.service == "throughline-worker"
    assert (line.trace_id, line.span_id) == (ids["trace_id"], ids["span_id"])
    assert (line.severity, line.severity_number) == ("warning", 13)
    written = json.loads(ours)["timestamp"]
    assert written.startswith(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(line.time / 1e9)))
    assert written[20:26] == f"{line.time % 1_000_000_000 // 1000:06d}", "to the microsecond"
    assert line.attributes.keys() == {"container_id", "container_name", "source"}
    (other,) = (line for line in lines if "503" in line.body)
    assert (other.service, other.trace_id) == ("throughline-api", "")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25 17:00:00 UTC [1] LOG:  checkpoint complete",
        '{"not": "closed',
        "{}",
        '{"trace_id": 7, "span_id": null, "level": ["x"], "timestamp": "yesterday"}',
        '{"trace_id": "xyz", "timestamp": "2026-13-45T00:00:00.000000Z"}',
        "[1, 2]",
        "",
        "ünïcödé " + "x" * 10_000,
    ],
    ids=["plain", "broken", "empty object", "wrong types", "wrong values", "list", "empty", "long"],
)
def test_a_line_that_is_not_ours_arrives_as_it_was(running: Running, text: str) -> None:
    mark = f"{text}#{time.time_ns()}" if not text.startswith("{") else text
    write_lines(running, "postgres", [mark])
    lines = running.loki.wait_until(lambda lines: any(line.body == mark for line in lines))
    line = next(line for line in lines if line.body == mark)
    assert line.service == "postgres"
    assert line.trace_id == ""
    assert abs(line.time / 1e9 - time.time()) < 120, "Docker's time, where the line has none"


def test_its_own_metrics_tell_of_decisions(running: Running) -> None:
    text = httpx.get(running.collector.metrics, trust_env=False).text
    assert "otelcol_processor_tail_sampling_count_traces_sampled" in text
