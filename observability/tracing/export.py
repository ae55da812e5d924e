"""Ended spans on their way to the collector: work never waits for it, and what is lost is counted."""

import os
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from observability.logs import get_logger
from observability.metrics import DropReason, Metrics
from observability.tracing.light_span import Ended
from observability.tracing.otlp import Envelope

_BATCH: Final = 2048
INTERVAL: Final = 1.0
"""Seconds that an ended span waits for company at most."""
_KNOWN_DEAD_GRACE: Final = 0.5
_MOST_BYTES: Final = 32 * 1024 * 1024
_BATCH_BYTES: Final = 4 * 1024 * 1024
"""From which on a batch is full: collectors refuse requests that are too large, 20 MiB by default."""
_BARE: Final = 512
"""What a span is taken for that is not encoded yet, beside its texts, in bytes."""

_log = get_logger(__name__)

_Encoded = tuple[Envelope, bytes]
_Item = _Encoded | ReadableSpan | threading.Event


class OtlpSender:
    """Sends requests over OTLP/HTTP, by the SDK's own client: its retries, TLS, compression and variables hold."""

    def __init__(self, endpoint: str, *, headers: Mapping[str, str] | None, timeout: float) -> None:
        self._exporter = OTLPSpanExporter(endpoint=endpoint, headers=headers, timeout=timeout)

    def send(self, request: bytes) -> bool:
        """Send an encoded request; say whether it arrived. Blocks."""
        return self._exporter._client.export(request).success  # noqa: SLF001 - its public way in encodes once more

    def close(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class SpanQueue(SpanProcessor):
    """A bounded queue of ended spans and the thread that exports them in batches.

    It stands in for the SDK's batch processor, whose flush has no limit in time, whose shutdown waits 30 s for a
    collector that is away, and which tells of a dropped span only in the log. Full with ``size`` spans or
    ``most_bytes``, it drops the newest. Light spans are kept encoded, so that the thread has little to do but send.

    After a fork the child's copy drops everything, since it has no thread and shares a connection with its parent: the
    child configures its own.
    """

    def __init__(
        self,
        send: Callable[[bytes], bool],
        *,
        close: Callable[[], None],
        metrics: Metrics,
        size: int,
        timeout: float,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._send = send
        self._close = close
        self._size = size
        self._most_bytes = most_bytes
        self._bytes_in = self._bytes_out = 0
        self._timeout = timeout
        self._items: deque[_Item] = deque()
        self._wake = threading.Event()
        self._flushing = False
        self._closed = False
        self._abandoned = False
        self._forked = False
        self._failing = False
        self._exported = metrics.spans_exported.labels()
        self._dropped = {reason: metrics.spans_dropped.labels(reason=reason) for reason in DropReason}
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
        self._thread.start()
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: only ended spans count."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span; never waits."""
        context = span.context
        if context is not None and context.trace_flags.sampled and self._has_room():
            self._put(span, _size(span))

    def take_all(self, spans: Sequence[Ended]) -> None:
        """See ``Sink.take_all``."""
        for span in spans:
            if self._has_room():
                encoded = span.encode()
                if encoded is None:
                    readable = span.readable()
                    self._put(readable, _size(readable))
                else:
                    self._put((span.tracer.envelope, encoded), len(encoded))

    def _has_room(self) -> bool:
        if self._closed:
            if not self._forked:
                self._dropped[DropReason.SHUTDOWN].inc()
            return False
        if len(self._items) >= self._size:
            self._dropped[DropReason.QUEUE_FULL].inc()
            return False
        return True

    def _put(self, item: _Encoded | ReadableSpan, size: int) -> None:
        if self._bytes_in - self._bytes_out + size > self._most_bytes:
            self._dropped[DropReason.QUEUE_FULL].inc()
            return
        self._bytes_in += size
        self._items.append(item)
        if len(self._items) >= _BATCH and not self._wake.is_set():
            self._wake.set()

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Say whether everything queued before was dealt with within the time, ``timeout`` by default."""
        if self._closed:
            return not self._items
        reached = threading.Event()
        self._items.append(reached)
        self._flushing = True
        self._wake.set()
        return reached.wait(self._timeout if timeout_millis is None else timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export what is queued, for ``timeout`` seconds at most and far less if the collector is known to be away."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._thread.join(min(self._timeout, _KNOWN_DEAD_GRACE) if self._failing else self._timeout)
        self._abandoned = True
        self._close()
        left = sum(not isinstance(item, threading.Event) for item in tuple(self._items))
        if left:
            self._dropped[DropReason.SHUTDOWN].inc(left)

    def _run(self) -> None:
        with suppress_instrumentation():
            while not self._closed:
                full = self._wake.wait(INTERVAL)
                self._wake.clear()
                everything, self._flushing = self._flushing or not full, False
                self._drain(1 if everything else _BATCH)
            self._drain(1)

    def _drain(self, least: int) -> None:
        """Export as long as there are ``least`` spans; fewer wait for company, up to ``INTERVAL``."""
        while len(self._items) >= least and not self._abandoned:
            spans, reached, size = self._take()
            if spans:
                self._export(spans)
                self._bytes_out += size
            for event in reached:
                event.set()
        if not self._items:
            # Without a lock, which costs a tenth of a span, an addition may have been missed; here the sum is known.
            self._bytes_out = self._bytes_in

    def _take(self) -> tuple[list[_Encoded | ReadableSpan], list[threading.Event], int]:
        """Take a batch out of the queue: its spans, the events that stood between them, its bytes."""
        spans, reached, size = list[_Encoded | ReadableSpan](), list[threading.Event](), 0
        while self._items and len(spans) < _BATCH and size < _BATCH_BYTES:
            item = self._items.popleft()
            if isinstance(item, threading.Event):
                reached.append(item)
            else:
                spans.append(item)
                size += _size(item)
        return spans, reached, size

    def _export(self, spans: list[_Encoded | ReadableSpan]) -> None:
        try:
            exported = self._send(_request(spans))
        except Exception:  # noqa: BLE001 - whatever an exporter does, this thread goes on
            _log.exception("span export broke", spans=len(spans))
            exported = False
        if exported:
            self._exported.inc(len(spans))
        else:
            self._dropped[DropReason.EXPORT_FAILED].inc(len(spans))
            self._abandoned = self._closed
        if self._failing and exported:
            _log.info("span export works again")
        self._failing = not exported

    def _after_fork(self) -> None:
        """Not even count here: the parent's thread may have held a counter's lock at the fork, for ever held here."""
        self._forked = self._closed = self._abandoned = True
        self._items.clear()


def _size(item: _Encoded | ReadableSpan) -> int:
    """Return what an item takes, in bytes: exactly if it is encoded, else by its texts."""
    if isinstance(item, tuple):
        return len(item[1])
    values = [*(item.attributes or {}).values()]
    for event in item.events:
        values += (event.attributes or {}).values()
    return _BARE + sum(len(str(value)) for value in values)


def _request(spans: list[_Encoded | ReadableSpan]) -> bytes:
    encoded: defaultdict[Envelope, list[bytes]] = defaultdict(list)
    others: list[ReadableSpan] = []
    for span in spans:
        if isinstance(span, tuple):
            encoded[span[0]].append(span[1])
        else:
            others.append(span)
    parts = [envelope.request(members) for envelope, members in encoded.items()]
    if others:
        parts.append(encode_spans(others).SerializePartialToString())
    return b"".join(parts)
