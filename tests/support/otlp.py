"""A collector for tests: takes OTLP/HTTP from real processes and keeps the spans as plain records."""

import gzip
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLink:
    """A link as it arrived; ids in hex."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvent:
    """An event on a span as it arrived."""

    name: str
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRecord:
    """A span as it arrived. Ids in hex, ``parent_span_id`` None for a root; times in nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    service: str
    attributes: Mapping[str, object]
    resource: Mapping[str, object]
    links: tuple[SpanLink, ...]
    events: tuple[SpanEvent, ...]
    status: str
    status_message: str
    start: int
    end: int


class OtlpReceiver:
    """What a running receiver got. ``status`` is what it answers with; ``delay`` makes it slow, in seconds."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.status = 200
        self.delay = 0.0
        self.requests: list[Mapping[str, str]] = []
        self._spans: list[SpanRecord] = []
        self._changed = threading.Condition()

    @property
    def spans(self) -> tuple[SpanRecord, ...]:
        """All spans so far, in the order they arrived."""
        with self._changed:
            return tuple(self._spans)

    def named(self, name: str) -> tuple[SpanRecord, ...]:
        """All spans of this name."""
        return tuple(span for span in self.spans if span.name == name)

    def trace(self, trace_id: str) -> tuple[SpanRecord, ...]:
        """All spans of one trace, by their start."""
        return tuple(sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start))

    def wait_until(
        self, condition: Callable[[tuple[SpanRecord, ...]], bool], *, timeout: float = 10.0
    ) -> tuple[SpanRecord, ...]:
        """Return all spans once they meet ``condition``.

        Raises:
            TimeoutError: they didn't within ``timeout`` seconds; it tells which ones came.

        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition(tuple(self._spans)):
                if not self._changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    came = ", ".join(f"{span.service}:{span.name}" for span in self._spans)
                    raise TimeoutError(f"the spans waited for did not come in {timeout} s; these did: [{came}]")
            return tuple(self._spans)

    def clear(self) -> None:
        """Forget what came."""
        with self._changed:
            self._spans.clear()
            self.requests.clear()

    def add(self, headers: Mapping[str, str], request: ExportTraceServiceRequest) -> None:
        """Keep a request's spans; called by the server."""
        with self._changed:
            self.requests.append(headers)
            self._spans.extend(_records(request.resource_spans))
            self._changed.notify_all()


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Run a receiver on a free port of 127.0.0.1; its ``endpoint`` is what the settings want."""
    server = _Server(("127.0.0.1", 0), _Handler)
    receiver = server.receiver = OtlpReceiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def is_connected(spans: Iterable[SpanRecord]) -> bool:
    """Say whether ``spans`` are one trace with one root and no span whose parent is missing."""
    items = tuple(spans)
    ids = {span.span_id for span in items}
    roots = [span for span in items if span.parent_span_id is None]
    orphans = [span for span in items if span.parent_span_id is not None and span.parent_span_id not in ids]
    return len({span.trace_id for span in items}) == 1 and len(roots) == 1 and not orphans


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: OtlpReceiver


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = _decoded(self.rfile.read(int(self.headers["Content-Length"])), self.headers.get("Content-Encoding", ""))
        time.sleep(receiver.delay)
        status = receiver.status if self.path == "/v1/traces" else 404
        if status == 200:
            receiver.add(dict(self.headers.items()), ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def _decoded(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            return body


def _records(resources: Iterable[ResourceSpans]) -> Iterator[SpanRecord]:
    for item in resources:
        resource = _attributes(item.resource.attributes)
        for scope in item.scope_spans:
            for span in scope.spans:
                yield _record(span, resource)


def _record(span: ProtoSpan, resource: Mapping[str, object]) -> SpanRecord:
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex() or None,
        name=span.name,
        kind=_KINDS[span.kind],
        service=str(resource.get("service.name", "")),
        attributes=_attributes(span.attributes),
        resource=resource,
        links=tuple(
            SpanLink(trace_id=link.trace_id.hex(), span_id=link.span_id.hex(), attributes=_attributes(link.attributes))
            for link in span.links
        ),
        events=tuple(SpanEvent(name=event.name, attributes=_attributes(event.attributes)) for event in span.events),
        status=_STATUSES[span.status.code],
        status_message=span.status.message,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> object:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case kind:
            return getattr(value, kind)
