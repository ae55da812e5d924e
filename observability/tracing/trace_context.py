"""W3C trace context as text, as it stands in headers, on rows and in messages.

What comes in may be anything: an invalid one counts as none and is never an error.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from observability import attributes

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_PLAIN: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""As we write it ourselves, and not all zeros."""
_LONGEST: Final = 512
_LONGEST_STATE: Final = 512


class LinkReason(StrEnum):
    """Why a span is linked to another."""

    MESSAGE = "message"
    RUN = "run"
    RETRY_OF = "retry_of"
    REPLAY_OF = "replay_of"
    REQUEST = "request"
    AWAITED = "awaited"


def span_context_of(traceparent: str | None, tracestate: str | None = None) -> SpanContext | None:
    """Read ``traceparent``; None if it is absent or invalid. An invalid ``tracestate`` is left out."""
    if not traceparent or len(traceparent) > _LONGEST:
        return None
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t"))
    if not match or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    context = SpanContext(
        trace_id=int(match[2], 16),
        span_id=int(match[3], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[4], 16)),
        trace_state=_trace_state(tracestate),
    )
    return context if context.is_valid else None


def _trace_state(tracestate: str | None) -> TraceState | None:
    if not tracestate or len(tracestate) > _LONGEST_STATE:
        return None
    return TraceState.from_header([tracestate])


def context_from(traceparent: str | None, tracestate: str | None = None) -> Context:
    """Return the context in which a span becomes a child of ``traceparent``.

    Without a valid one the context is empty: a span made in it begins a trace, whatever span is current.
    """
    parent = span_context_of(traceparent, tracestate)
    return context_of(parent) if parent else Context()


def context_of(parent: SpanContext) -> Context:
    """Return the context in which a span becomes a child of ``parent``, whatever span is current."""
    return set_span_in_context(NonRecordingSpan(parent), Context())


def traceparent_of(span: Span | None = None) -> str | None:
    """Write ``span`` (the current one by default) as a traceparent; None if there is none."""
    context = (span or get_current_span()).get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id in ``traceparent``, 32 hex digits; None if it is absent or invalid."""
    if traceparent and _PLAIN.fullmatch(traceparent):
        return traceparent[3:35]
    context = span_context_of(traceparent)
    return format(context.trace_id, "032x") if context else None


def link_to(traceparent: str | None, *, reason: LinkReason) -> Link | None:
    """Return a link to ``traceparent`` that says why it is there; None if that is absent or invalid."""
    context = span_context_of(traceparent)
    return Link(context, {attributes.LINK: reason.value}) if context else None


def links_to(traceparents: Iterable[str | None], *, reason: LinkReason) -> tuple[Link, ...]:
    """Return links to all valid ones among ``traceparents``."""
    return tuple(link for item in traceparents if (link := link_to(item, reason=reason)))


def add_link(span: Span, traceparent: str | None, *, reason: LinkReason) -> None:
    """Link a span that has begun to ``traceparent``."""
    context = span_context_of(traceparent)
    if context:
        span.add_link(context, {attributes.LINK: reason.value})
