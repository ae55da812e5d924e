"""Traces: the provider, the spans of an event's way, and trace context as text.

Celery's instrumentation is in ``observability.tracing.celery_spans``, which alone imports Celery.
"""

from observability.tracing.accept_spans import AcceptSpan, AcceptSpans, accept_spans
from observability.tracing.message_ids import handled_span, is_alone, is_shared, new_message_id
from observability.tracing.provider import Tracing, configure_tracing, export_delay, flush_spans
from observability.tracing.recovered import (
    Made,
    emit_message_span,
    emit_node_span,
    emit_run_span,
    records_spans,
    sending_of,
)
from observability.tracing.spans import (
    ActiveSpan,
    RunIds,
    accept_span,
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
    "Made",
    "RunIds",
    "Tracing",
    "accept_span",
    "accept_spans",
    "add_link",
    "configure_tracing",
    "context_from",
    "context_of",
    "emit_message_span",
    "emit_node_span",
    "emit_run_span",
    "export_delay",
    "flush_spans",
    "handled_span",
    "is_alone",
    "is_shared",
    "link_to",
    "links_to",
    "new_message_id",
    "new_span_id",
    "node_span",
    "publish_span",
    "record_error",
    "records_spans",
    "replay_span",
    "run_span",
    "sending_of",
    "server_span",
    "set_outcome",
    "set_response",
    "span_context_of",
    "trace_id_of",
    "traceparent_of",
]
