"""A collector, as a process of its own: takes OTLP/HTTP, keeps the bodies as they come, and reads them when asked.

Arguments: the port, and how many seconds after a request with spans its answer goes out.
``POST /v1/traces`` takes spans; ``GET /spans`` tells what has come (``Counts``); ``POST /reset`` forgets it.
"""

import asyncio
import gzip
import json
import sys
import zlib
from collections import Counter, defaultdict
from typing import Any, Final, cast

import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.http_wire import Message, read_message

_SPANS: Final = b"POST /v1/traces"


class Spans:
    """What came."""

    def __init__(self) -> None:
        self._bodies: list[tuple[bytes, bytes]] = []
        self._names: Counter[str] = Counter()
        self._traces: defaultdict[bytes, Counter[str]] = defaultdict(Counter)
        self._bytes = 0

    def take(self, encoding: bytes, body: bytes) -> None:
        """Keep a request; nothing is read yet."""
        self._bodies.append((encoding, body))
        self._bytes += len(body)

    def reset(self) -> None:
        """Forget all."""
        self.__init__()  # type: ignore[misc]

    def counts(self) -> dict[str, Any]:
        """Tell how many spans there are by name, how many traces, and how many traces of each size."""
        self._read()
        sizes = Counter(sum(names.values()) for names in self._traces.values())
        return {
            "spans": self._names.total(),
            "names": dict(self._names),
            "traces": len(self._traces),
            "sizes": dict(sizes),
            "bytes": self._bytes,
        }

    def _read(self) -> None:
        bodies, self._bodies = self._bodies, []
        for encoding, body in bodies:
            request = ExportTraceServiceRequest.FromString(_decoded(encoding, body))
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._names[span.name] += 1
                        self._traces[span.trace_id][span.name] += 1


def _decoded(encoding: bytes, body: bytes) -> bytes:
    match encoding:
        case b"gzip":
            return gzip.decompress(body)
        case b"deflate":
            return zlib.decompress(body)
        case _:
            return body


class Connection(asyncio.Protocol):
    """One connection; bodies of any size. Spans are answered after ``delay`` seconds."""

    def __init__(self, spans: Spans, delay: float) -> None:
        self._spans = spans
        self._delay = delay
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._buffer += data
        while (message := read_message(bytes(self._buffer))) is not None and self._transport is not None:
            self._buffer = bytearray(message.rest)
            said = self._answer(message)
            delay = self._delay if message.head.startswith(_SPANS) else 0.0
            asyncio.get_running_loop().call_later(delay, self._say, said)

    def _say(self, said: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(said) + said)

    def _answer(self, message: Message) -> bytes:
        line, _, headers = message.head.partition(b"\r\n")
        if line.startswith(_SPANS):
            self._spans.take(_encoding(headers), message.body)
            return b""
        if line.startswith(b"POST /reset"):
            self._spans.reset()
            return b"{}"
        return json.dumps(self._spans.counts()).encode()


def _encoding(headers: bytes) -> bytes:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-encoding":
            return value.strip().lower()
    return b""


async def _main(port: int, delay: float) -> None:
    spans = Spans()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(spans, delay), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), float(sys.argv[2])))
