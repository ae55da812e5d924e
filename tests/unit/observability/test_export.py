import io
import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from events import ConfigurationError
from observability.logs import configure_logging
from observability.metrics import Metrics
from observability.tracing import Tracing, accept_span, configure_tracing, context_from, export, node_span
from settings import LogSettings, TelemetrySettings
from tests.support.otlp import OtlpReceiver, is_connected, otlp_receiver


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as running:
        yield running


class Process:
    """Tracing as a process has it, with its metrics and log lines."""

    def __init__(self, endpoint: str | None, *, timeout: float = 5.0, queue_size: int = 1000) -> None:
        self.registry = CollectorRegistry()
        self.stream = io.StringIO()
        configure_logging(LogSettings(format="json"), service="api", stream=self.stream)
        settings = TelemetrySettings(
            endpoint=endpoint, export_timeout=timeout, queue_size=queue_size, headers=SecretStr("x-key=hunter%202,b=c")
        )
        self.tracing: Tracing = configure_tracing(settings, service="api", metrics=Metrics(self.registry))

    def make_spans(self, number: int) -> None:
        for _ in range(number):
            with accept_span("e", "t", tenant="x", context=context_from(None)):
                pass

    def dropped(self, reason: str) -> float | None:
        return self.registry.get_sample_value("throughline_spans_dropped_total", {"reason": reason})

    @property
    def exported(self) -> float | None:
        return self.registry.get_sample_value("throughline_spans_exported_total")

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """Nobody listens there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """Connections are taken there, and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_spans_reach_the_collector_with_what_names_their_process(receiver: OtlpReceiver) -> None:
    process = Process(receiver.endpoint + "/")
    with accept_span("e", "t", tenant="x"), node_span("n", pipeline="p", run_id="r", attempt=1):
        pass
    assert process.tracing.force_flush()
    node, accept = receiver.spans
    assert is_connected(receiver.spans)
    assert (accept.name, accept.parent_span_id, node.parent_span_id) == ("accept", None, accept.span_id)
    assert accept.service == "throughline-api"
    assert accept.resource["service.namespace"] == "throughline"
    assert accept.resource["service.instance.id"]
    assert receiver.requests[0]["x-key"] == "hunter 2"
    assert process.exported == 2
    process.tracing.shutdown()


def test_each_boot_is_an_instance_of_its_own(receiver: OtlpReceiver) -> None:
    for _ in range(2):
        process = Process(receiver.endpoint)
        process.make_spans(1)
        process.tracing.shutdown()
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) == 2


@pytest.mark.parametrize(
    ("variable", "path"), [("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/v1/traces")]
)
def test_the_usual_variables_name_the_collector_too(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, variable: str, path: str
) -> None:
    monkeypatch.setenv(variable, receiver.endpoint + path)
    process = Process(None)
    process.make_spans(1)
    process.tracing.shutdown()
    assert len(receiver.spans) == 1


def test_compression_can_be_asked_for_as_usual(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    process = Process(receiver.endpoint)
    process.make_spans(1)
    process.tracing.shutdown()
    assert len(receiver.spans) == 1
    assert receiver.requests[0]["Content-Encoding"] == "gzip"


def test_shutdown_exports_what_is_left_and_counts_what_comes_later(receiver: OtlpReceiver) -> None:
    process = Process(receiver.endpoint, queue_size=5000)
    process.make_spans(3000)
    process.tracing.shutdown()
    assert len(receiver.spans) == 3000
    process.make_spans(2)
    assert process.dropped("shutdown") == 2


def test_a_dead_collector_costs_the_work_nothing_and_the_log_little(dead_endpoint: str) -> None:
    process = Process(dead_endpoint, timeout=0.5, queue_size=100)
    began = time.monotonic()
    process.make_spans(5000)
    assert time.monotonic() - began < 3
    for _ in range(20):
        process.make_spans(1)
        assert process.tracing.force_flush()
    began = time.monotonic()
    process.tracing.shutdown()
    assert time.monotonic() - began < 1
    lost = (process.dropped("queue_full") or 0) + (process.dropped("export_failed") or 0)
    assert (lost, process.exported) == (5020, 0)
    assert 1 <= len(process.lines) <= 2


def test_a_silent_collector_holds_up_neither_work_nor_flush_nor_shutdown(silent_endpoint: str) -> None:
    process = Process(silent_endpoint, timeout=1.0)
    process.make_spans(10)
    began = time.monotonic()
    assert not process.tracing.force_flush(0.2)
    assert time.monotonic() - began < 0.9
    process.make_spans(10)
    began = time.monotonic()
    process.tracing.shutdown()
    assert time.monotonic() - began < 2
    assert sum(process.dropped(reason) or 0 for reason in ("export_failed", "shutdown")) >= 10


@pytest.mark.parametrize("kind", ["ours", "somebody's"])
def test_the_queue_is_bounded_in_bytes_too(silent_endpoint: str, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(export.SpanQueue.__init__, "__kwdefaults__", {"most_bytes": 100_000})
    process = Process(silent_endpoint, timeout=0.5)
    for _ in range(200):
        with node_span("n", pipeline="p", run_id="r", attempt=1) as span:
            if kind == "ours":
                span.set_attribute("text", "x" * 10_000)
            else:
                span.add_event("said", {"text": "x" * 10_000})
    process.tracing.shutdown()
    assert process.dropped("queue_full") == pytest.approx(200 - 9, abs=2)


def test_no_request_is_larger_than_collectors_take(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_BATCH_BYTES", 100_000)
    process = Process(receiver.endpoint)
    for _ in range(100):
        with node_span("n", pipeline="p", run_id="r", attempt=1) as span:
            span.set_attribute("text", "x" * 10_000)
    assert process.tracing.force_flush()
    assert len(receiver.spans) == 100
    assert max(int(request["Content-Length"]) for request in receiver.requests) < 120_000
    process.tracing.shutdown()


def test_spans_end_while_an_export_is_under_way(silent_endpoint: str) -> None:
    process = Process(silent_endpoint, timeout=2.0, queue_size=100_000)
    process.make_spans(1)
    assert not process.tracing.force_flush(0.1)
    began = time.monotonic()
    process.make_spans(2000)
    assert time.monotonic() - began < 1
    process.tracing.shutdown()


def test_a_collector_that_comes_back_gets_the_spans_and_the_log_says_so(receiver: OtlpReceiver) -> None:
    receiver.status = 400
    process = Process(receiver.endpoint)
    process.make_spans(1)
    assert process.tracing.force_flush()
    receiver.status = 200
    process.make_spans(1)
    assert process.tracing.force_flush()
    process.tracing.shutdown()
    assert (process.dropped("export_failed"), process.exported) == (1, 1)
    assert process.lines[-1]["event"] == "span export works again"


@pytest.mark.parametrize("endpoint", ["collector:4317", "grpc://collector:4317"])
def test_an_endpoint_that_is_no_http_url_is_refused_at_once(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="http"):
        configure_tracing(TelemetrySettings(endpoint=endpoint), service="api")


def test_headers_that_cannot_be_read_are_refused_without_being_shown() -> None:
    settings = TelemetrySettings(endpoint="http://127.0.0.1:4318", headers=SecretStr("hunter2"))
    with pytest.raises(ConfigurationError, match="HEADERS") as refused:
        configure_tracing(settings, service="api")
    assert "hunter2" not in str(refused.value)


_FORKING = """
    import os, sys
    from observability.tracing import accept_span, configure_tracing
    from settings import TelemetrySettings

    settings = TelemetrySettings(endpoint=sys.argv[1])
    parent = configure_tracing(settings, service="parent")
    with accept_span("e", "t", tenant="before the fork"):
        pass
    child = os.fork()
    if child == 0:
        with accept_span("e", "t", tenant="not configured yet"):
            pass
        tracing = configure_tracing(settings, service="child")
        with accept_span("e", "t", tenant="child"):
            pass
        tracing.shutdown()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with accept_span("e", "t", tenant="after the fork"):
        pass
    parent.shutdown()
"""


def test_a_forked_child_configures_its_own_and_doubles_nothing_of_its_parents(receiver: OtlpReceiver) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(_FORKING), receiver.endpoint]
    subprocess.run(command, check=True, timeout=30, cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert sorted((span.service, span.attributes["throughline.tenant"]) for span in receiver.spans) == [
        ("throughline-child", "child"),
        ("throughline-parent", "after the fork"),
        ("throughline-parent", "before the fork"),
    ]
