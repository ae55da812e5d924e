"""Traces: the provider, the spans of an event's way, and trace context as text.

Celery's instrumentation is in ``observability.tracing.celery_spans``, which alone imports Celery.
"""

from observability.tracing.accept_spans import AcceptSpan, AcceptSpans, accept_spans
from observability.tracing.provider import Tracing, configure_tracing
from observability.tracing.spans import (
    ActiveSpan,
    RunIds,
    accept_span,
    emit_run_span,
    new_span_id,
    node_span,
    publish_span,
    record_error,
    replay_span,
    run_span,
    server_span,
    set_outcome,
    set_response,
)
from observability.tracing.trace_context import (
    LinkReason,
    add_link,
    context_from,
    context_of,
    link_to,
    links_to,
    span_context_of,
    trace_id_of,
    traceparent_of,
)

__all__ = [
    "AcceptSpan",
    "AcceptSpans",
    "ActiveSpan",
    "LinkReason",
    "RunIds",
    "Tracing",
    "accept_span",
    "accept_spans",
    "add_link",
    "configure_tracing",
    "context_from",
    "context_of",
    "emit_run_span",
    "link_to",
    "links_to",
    "new_span_id",
    "node_span",
    "publish_span",
    "record_error",
    "replay_span",
    "run_span",
    "server_span",
    "set_outcome",
    "set_response",
    "span_context_of",
    "trace_id_of",
    "traceparent_of",
]
