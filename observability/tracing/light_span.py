"""Spans that cost little: what the hot path makes, under OpenTelemetry's own interface."""

import struct
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

from observability import attributes as key
from observability.tracing.ids import SpanIds
from observability.tracing.otlp import Envelope, Simple, encode_span

_MOST_ATTRIBUTES: Final = 128
_MOST: Final = 128

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
SAMPLED_RANDOM: Final = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
SAMPLED_FLAGS: Final = f"-{SAMPLED_RANDOM:02x}"
"""How the traceparent ends of a trace that was begun here and is sampled."""
_DROPPED: Final = TraceFlags(TraceFlags.DEFAULT)
_DROPPED_RANDOM: Final = TraceFlags(TraceFlags.RANDOM_TRACE_ID)
_DROPPED_FLAGS: Final = f"-{_DROPPED_RANDOM:02x}"


class Ended(Protocol):
    """What a sink has of a span that has ended."""

    @property
    def tracer(self) -> "LightTracer":
        """Whose span it is."""

    def encode(self) -> bytes | None:
        """Write the span for ``Envelope.request``; None if it is not plain: then see ``readable``."""

    def readable(self) -> ReadableSpan:
        """Return the span as the SDK's own exporters take it."""


class Sink(Protocol):
    """Where ended spans go."""

    def take_all(self, spans: Sequence[Ended]) -> None:
        """Take ended spans; never waits, never raises."""


class LightSpan(Span):
    """A sampled span. It keeps what it is told as it comes; the little that is not plain is the SDK's to tidy."""

    __slots__ = (
        "_attributes",
        "_events",
        "_links",
        "_status",
        "context",
        "end_time",
        "kind",
        "name",
        "parent",
        "start_time",
        "tracer",
    )

    def __init__(  # noqa: PLR0913 - a span's fields
        self,
        tracer: "LightTracer",
        name: str,
        *,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] | None,
        start_time: int | None,
    ) -> None:
        self.tracer = tracer
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.start_time = start_time or time.time_ns()
        self.end_time: int | None = None
        self._attributes: dict[str, Any] = dict(attributes) if attributes else {}
        self._links: list[Link] = list(links) if links else []
        self._events: list[Event] | None = None
        self._status: tuple[StatusCode, str | None] = (StatusCode.UNSET, None)

    def end(self, end_time: int | None = None) -> None:
        """See ``Span.end``."""
        if self.end_time is None:
            self.end_time = end_time or time.time_ns()
            for sink in self.tracer.sinks:
                sink.take_all((self,))

    def get_span_context(self) -> SpanContext:
        """See ``Span.get_span_context``."""
        return self.context

    def is_recording(self) -> bool:
        """See ``Span.is_recording``."""
        return self.end_time is None

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """See ``Span.set_attributes``."""
        for name, value in attributes.items():
            self.set_attribute(name, value)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """See ``Span.set_attribute``."""
        if self.end_time is None:
            self._attributes[key] = value

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """See ``Span.add_event``."""
        if self.end_time is not None:
            return
        kept = BoundedAttributes(_MOST_ATTRIBUTES, attributes)
        if self._events is None:
            self._events = []
        if len(self._events) < _MOST:
            self._events.append(Event(name=name, attributes=kept, timestamp=timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """See ``Span.add_link``."""
        if self.end_time is None and context.is_valid:
            self._links.append(Link(context, attributes))

    def update_name(self, name: str) -> None:
        """See ``Span.update_name``."""
        if self.end_time is None:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """See ``Span.set_status``: OK stands, and nothing goes back to UNSET."""
        code = status.status_code if isinstance(status, Status) else status
        told = status.description if isinstance(status, Status) else description
        if self.end_time is None and self._status[0] is not StatusCode.OK and code is not StatusCode.UNSET:
            self._status = (code, told if code is StatusCode.ERROR else None)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """See ``Span.record_exception``."""
        told: dict[str, AttributeValue] = {
            key.EXCEPTION_TYPE: f"{type(exception).__module__}.{type(exception).__qualname__}",
            key.EXCEPTION_MESSAGE: str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
            **(attributes or {}),
        }
        self.add_event("exception", told, timestamp)

    def encode(self) -> bytes | None:
        """Write the ended span for ``Envelope.request``; None if it is not plain: then see ``readable``."""
        if self._events or len(self._attributes) > _MOST_ATTRIBUTES or self.context.trace_state:
            return None
        try:
            return encode_span(
                self.name,
                self.kind,
                context=self.context,
                parent=self.parent,
                start=self.start_time,
                end=self.end_time or self.start_time,
                attributes=self._attributes,
                links=self._links,
                status=self._status,
            )
        except (TypeError, struct.error):
            return None

    def readable(self) -> ReadableSpan:
        """Return the span as the SDK's own exporters take it."""
        return ReadableSpan(
            name=self.name,
            context=self.context,
            parent=self.parent,
            resource=self.tracer.resource,
            attributes=BoundedAttributes(_MOST_ATTRIBUTES, self._attributes),
            events=tuple(self._events or ()),
            links=tuple(self._links),
            kind=self.kind,
            status=Status(*self._status),
            start_time=self.start_time,
            end_time=self.end_time,
            instrumentation_scope=self.tracer.scope,
        )


class LightTracer(trace.Tracer):
    """Makes ``LightSpan``s. A parent's choice whether to sample stands; of traces begun here a ``share`` is sampled."""

    def __init__(
        self, scope: InstrumentationScope, *, resource: Resource, share: float, ids: SpanIds, sinks: Sequence[Sink]
    ) -> None:
        self.scope = scope
        self.resource = resource
        self.sinks = sinks
        self.envelope = Envelope(
            cast("dict[str, Simple]", resource.attributes),
            scope=scope.name,
            version=scope.version or "",
            schema_url=scope.schema_url or "",
        )
        self._bound = TraceIdRatioBased.get_bound_for_rate(share)
        self._ids = ids

    def flags_of(self, trace_id: int) -> TraceFlags:
        """Return the flags of a trace that is begun here."""
        return SAMPLED_RANDOM if trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound else _DROPPED_RANDOM

    def draw(self, count: int) -> list[tuple[bytes, str]]:
        """Begin so many traces: return trace id and span id in one, and the traceparent, of the first span of each."""
        bound = self._bound
        drawn = self._ids.draw(count)
        flags = [SAMPLED_FLAGS if int.from_bytes(ids[8:16]) < bound else _DROPPED_FLAGS for ids in drawn]
        return [
            (ids, f"00-{ids[:16].hex()}-{ids[16:].hex()}{ending}") for ids, ending in zip(drawn, flags, strict=True)
        ]

    def start_span(  # noqa: PLR0913, PLR0917 - OpenTelemetry's signature
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: ARG002 - light spans record no exception by themselves
        set_status_on_exception: bool = True,  # noqa: ARG002 - see above
    ) -> Span:
        """See ``Tracer.start_span``."""
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        if parent is None or not parent.is_valid:
            parent, trace_id = None, self._ids.generate_trace_id()
            flags = self.flags_of(trace_id)
            sampled = flags is SAMPLED_RANDOM
        else:
            trace_id, came = parent.trace_id, parent.trace_flags
            sampled = came & 1 == 1 and bool(self.sinks)
            if came & TraceFlags.RANDOM_TRACE_ID:
                flags = SAMPLED_RANDOM if sampled else _DROPPED_RANDOM
            else:
                flags = _SAMPLED if sampled else _DROPPED
        own = SpanContext(
            trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=flags,
            trace_state=parent.trace_state if parent else None,
        )
        if not sampled:
            return NonRecordingSpan(own)
        return LightSpan(
            self, name, context=own, parent=parent, kind=kind, attributes=attributes, links=links, start_time=start_time
        )

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # noqa: PLR0913, PLR0917 - OpenTelemetry's own
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[Span]:
        """See ``Tracer.start_as_current_span``."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(
            span,
            end_on_exit=end_on_exit,
            record_exception=record_exception,
            set_status_on_exception=set_status_on_exception,
        ) as current:
            yield current
