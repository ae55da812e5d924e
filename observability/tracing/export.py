"""Ended spans on their way to the collector: work never waits for it, and what is lost is counted."""

import os
import threading
import weakref
from collections import deque
from typing import Final

from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from observability.logs import get_logger
from observability.metrics import DropReason, Metrics

_BATCH: Final = 1024
_INTERVAL: Final = 1.0
_KNOWN_DEAD_GRACE: Final = 0.5

_log = get_logger(__name__)


class SpanQueue(SpanProcessor):
    """A bounded queue of ended spans and the thread that exports them in batches.

    It stands in for the SDK's batch processor, whose flush has no limit in time, whose shutdown waits 30 s for a
    collector that is away, and which tells of a dropped span only in the log. Full, it drops the newest.

    After a fork the child's copy drops everything, since it has no thread and shares a connection with its parent: the
    child configures its own.
    """

    def __init__(self, exporter: SpanExporter, *, metrics: Metrics, size: int, timeout: float) -> None:
        self._exporter = exporter
        self._size = size
        self._timeout = timeout
        self._items: deque[ReadableSpan | threading.Event] = deque()
        self._wake = threading.Event()
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
        if context is None or not context.trace_flags.sampled:
            return
        if self._closed:
            if not self._forked:
                self._dropped[DropReason.SHUTDOWN].inc()
        elif len(self._items) >= self._size:
            self._dropped[DropReason.QUEUE_FULL].inc()
        else:
            self._items.append(span)
            if len(self._items) >= _BATCH and not self._wake.is_set():
                self._wake.set()

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Say whether everything queued before was dealt with within the time, ``timeout`` by default."""
        if self._closed:
            return not self._items
        reached = threading.Event()
        self._items.append(reached)
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
        self._exporter.shutdown()
        left = sum(isinstance(item, ReadableSpan) for item in tuple(self._items))
        if left:
            self._dropped[DropReason.SHUTDOWN].inc(left)

    def _run(self) -> None:
        with suppress_instrumentation():
            while not self._closed:
                self._wake.wait(_INTERVAL)
                self._wake.clear()
                self._drain()
            self._drain()

    def _drain(self) -> None:
        while self._items and not self._abandoned:
            spans, markers = self._take()
            if spans:
                self._export(spans)
            for marker in markers:
                marker.set()

    def _take(self) -> tuple[list[ReadableSpan], list[threading.Event]]:
        spans: list[ReadableSpan] = []
        markers: list[threading.Event] = []
        while self._items and len(spans) < _BATCH:
            item = self._items.popleft()
            if isinstance(item, threading.Event):
                markers.append(item)
            else:
                spans.append(item)
        return spans, markers

    def _export(self, spans: list[ReadableSpan]) -> None:
        try:
            exported = self._exporter.export(spans) is SpanExportResult.SUCCESS
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
