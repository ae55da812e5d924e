"""The accept spans of events that came together, made and written in bulk: each is a ``LightSpan`` in all but cost."""

import time
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from observability import attributes as key
from observability.tracing.light_span import SAMPLED_FLAGS, SAMPLED_RANDOM, LightSpan, LightTracer
from observability.tracing.provider import light_tracer
from observability.tracing.trace_context import LinkReason, links_to

_UNSET: Final = Status(StatusCode.UNSET)
_BETWEEN_IDS: Final = b"\x12\x08"
"""What OTLP has between a trace id and a span id."""


class AcceptSpan:
    """One event's span. It takes what ``Span`` takes of outcomes and errors, and ends with all of its array."""

    __slots__ = ("_array", "_attributes", "_ids", "_status", "event_id", "event_type", "traceparent")

    def __init__(self, array: "AcceptSpans", event_id: str, event_type: str, ids: bytes, traceparent: str) -> None:
        self._array = array
        self._ids = ids
        self._attributes: dict[str, Any] = {}
        self._status = _UNSET
        self.event_id = event_id
        self.event_type = event_type
        self.traceparent = traceparent

    @property
    def tracer(self) -> LightTracer:
        """Whose span it is."""
        return self._array.tracer

    def set_attribute(self, name: str, value: str) -> None:
        """See ``Span.set_attribute``."""
        self._attributes[name] = value

    def set_status(self, status: Status) -> None:
        """See ``Span.set_status``."""
        self._status = status

    def encode(self) -> bytes | None:
        """Write the ended span as ``LightSpan.encode`` does."""
        outcome = self._attributes.get(key.OUTCOME)
        if self._status is not _UNSET or len(self._attributes) != 1 or outcome is None:
            return self.light().encode()
        pattern = self._array.patterns.get((self.event_type, outcome))
        own, ids = self.event_id.encode(), self._ids
        if pattern is not None:
            return b"".join((pattern[0], own, pattern[1], ids[:16], _BETWEEN_IDS, ids[16:], pattern[2]))
        encoded = self.light().encode()
        if encoded is not None:
            head, _, rest = encoded.partition(own)
            middle, _, tail = rest.partition(ids[:16] + _BETWEEN_IDS + ids[16:])
            self._array.patterns[self.event_type, outcome] = head, middle, tail
        return encoded

    def readable(self) -> ReadableSpan:
        """Return the span as the SDK's own exporters take it."""
        return self.light().readable()

    def light(self) -> LightSpan:
        """Return the span as it would be had its event come alone in a context without a trace."""
        array, ids = self._array, self._ids
        span = LightSpan(
            array.tracer,
            "accept",
            context=SpanContext(
                int.from_bytes(ids[:16]), int.from_bytes(ids[16:]), is_remote=False, trace_flags=SAMPLED_RANDOM
            ),
            parent=None,
            kind=SpanKind.INTERNAL,
            attributes={
                key.EVENT_ID: self.event_id,
                key.EVENT_TYPE: self.event_type,
                key.TENANT: array.tenant,
                **self._attributes,
            },
            links=array.links,
            start_time=array.start_time,
        )
        span.set_status(self._status)
        span.end_time = array.end_time
        return span


class AcceptSpans:
    """The accept spans of one request's events, in their order; each begins a trace, linked to ``request``.

    ``events`` are ids of ours, as UUIDs are written, and types. Every span of one array is written by the pattern that
    the first with the same type and outcome makes: they differ in their ids alone, which are equally long.
    """

    def __init__(
        self, tracer: LightTracer, events: Sequence[tuple[str, str]], *, tenant: str, request: str | None
    ) -> None:
        self.tracer = tracer
        self.tenant = tenant
        self.links = links_to([request], reason=LinkReason.REQUEST)
        self.patterns: dict[tuple[str, str], tuple[bytes, bytes, bytes]] = {}
        self.start_time = time.time_ns()
        self.end_time = self.start_time
        drawn = tracer.draw(len(events))
        self.spans = [AcceptSpan(self, *event, *one) for event, one in zip(events, drawn, strict=True)]

    def end(self) -> None:
        """End them all."""
        self.end_time = time.time_ns()
        recorded = [span for span in self.spans if span.traceparent.endswith(SAMPLED_FLAGS)]
        for sink in self.tracer.sinks:
            sink.take_all(recorded)


def accept_spans(events: Sequence[tuple[str, str]], *, tenant: str, request: str | None) -> AcceptSpans:
    """Begin the accept spans of events that came together; ``request`` is their request's traceparent."""
    return AcceptSpans(light_tracer(), events, tenant=tenant, request=request)
