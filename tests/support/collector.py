"""The collector with the configuration that we ship, and a Loki behind it that keeps what it is sent."""

import gzip
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from throughline.embedded import free_port
from throughline.supervision import ProcessService, http_ok
from throughline.supervision.service import stop, wait_ready

CONFIG = Path(__file__).parents[2] / "observability" / "collector" / "collector.yml"


def program() -> str:
    """A collector with the components of our configuration; else the test skips."""
    found = os.environ.get("TEST_COLLECTOR") or shutil.which("otelcol-contrib")
    if not found:
        pytest.skip("no collector on this machine: set TEST_COLLECTOR (.ci/go-tools makes it)")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A log line as it arrived; time in nanoseconds since the epoch, ids in hex."""

    service: str
    body: str
    time: int
    severity: str
    severity_number: int
    trace_id: str
    span_id: str
    attributes: Mapping[str, str]


class FakeLoki:
    """Takes log lines by OTLP, as Loki does below ``/otlp``."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}/otlp"
        self._lines: list[Line] = []
        self._changed = threading.Condition()

    def wait_until(self, condition: Callable[[tuple[Line, ...]], bool], *, timeout: float = 15.0) -> tuple[Line, ...]:
        """Return all lines once they meet ``condition``; a TimeoutError that tells which ones came."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition(tuple(self._lines)):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not in {timeout:g} s; these lines came: {self._lines[-30:]}")
                self._changed.wait(left)
            return tuple(self._lines)

    def add(self, request: ExportLogsServiceRequest) -> None:
        """Keep a request's lines; called by the server."""
        with self._changed:
            for item in request.resource_logs:
                resource = {one.key: one.value.string_value for one in item.resource.attributes}
                for scope in item.scope_logs:
                    self._lines.extend(
                        Line(
                            service=resource.get("service.name", ""),
                            body=record.body.string_value,
                            time=record.time_unix_nano,
                            severity=record.severity_text,
                            severity_number=record.severity_number,
                            trace_id=record.trace_id.hex(),
                            span_id=record.span_id.hex(),
                            attributes={one.key: one.value.string_value for one in record.attributes},
                        )
                        for record in scope.log_records
                    )
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    loki: FakeLoki


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        known = self.path == "/otlp/v1/logs"
        if known:
            self.server.loki.add(ExportLogsServiceRequest.FromString(body))
        answer = ExportLogsServiceResponse().SerializeToString()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def fake_loki() -> Iterator[FakeLoki]:
    """Run one on a free port of 127.0.0.1."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.loki = FakeLoki(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.loki
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Where a running collector takes spans (a URL) and lines (host and port), and shows its metrics (a URL)."""

    otlp: str
    fluent: tuple[str, int]
    metrics: str


@contextmanager
def collector(
    home: Path, *, tempo: str, loki: str, otlp: tuple[str, int] | None = None, **environment: str
) -> Iterator[Collector]:
    """Run one that sends to ``tempo`` and ``loki``; ``environment`` is what a user may set for the shipped file."""
    host, port = otlp or ("127.0.0.1", free_port())
    fluent, metrics = free_port(), free_port()
    made = Collector(
        otlp=f"http://{host}:{port}", fluent=("127.0.0.1", fluent), metrics=f"http://127.0.0.1:{metrics}/metrics"
    )
    service = ProcessService(
        "collector",
        [program(), f"--config={CONFIG}"],
        logs=home,
        env={
            "COLLECTOR_OTLP_ENDPOINT": f"{host}:{port}",
            "COLLECTOR_FLUENT_ENDPOINT": f"127.0.0.1:{fluent}",
            "COLLECTOR_METRICS_HOST": "127.0.0.1",
            "COLLECTOR_METRICS_PORT": str(metrics),
            "COLLECTOR_TEMPO_URL": tempo,
            "COLLECTOR_LOKI_URL": loki,
            **environment,
        },
        cwd=home,
        ready=http_ok(made.metrics),
    )
    try:
        service.launch()
        wait_ready(service)
        yield made
        stop(service)
    finally:
        service.kill()
