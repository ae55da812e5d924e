"""Spans of processes that died before they could export them, made again by whoever finds out.

Each has the id that it had or would have had, so that its children find it, and says that it was made again. All times
are nanoseconds since the epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from events import AttemptOutcome, ErrorInfo
from observability import attributes as key
from observability.tracing.message_ids import sent_span, trace_of
from observability.tracing.provider import CURRENT, light_tracer
from observability.tracing.spans import Attributes, RunIds, record_error
from observability.tracing.trace_context import context_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What is known of a span that is made again: its id, when, by which process, and how it ended."""

    span_id: str
    began: int
    ended: int
    process: str
    outcome: str | None = None
    error: ErrorInfo | None = None


def records_spans() -> bool:
    """Say whether there is anywhere for spans to go."""
    return bool(light_tracer().sinks)


def emit_run_span(run: RunIds, made: Made, *, context: Context, links: Sequence[Link] = ()) -> SpanContext:
    """Make the span of a try again; one that was lost ends as an error."""
    return _emit(
        f"process {run.pipeline}", SpanKind.CONSUMER, run.attributes(), made=made, context=context, links=links
    )


def emit_node_span(node: str, made: Made, *, run: RunIds, item: int, parent: SpanContext) -> None:
    """Make the span of a node again, as a child of its run's."""
    attributes: dict[str, str | int] = {
        key.NODE: node,
        key.PIPELINE: run.pipeline,
        key.RUN_ID: str(run.run_id),
        key.ATTEMPT: run.attempt,
    }
    if item:
        attributes[key.ITEM] = item
    _emit(node, SpanKind.INTERNAL, attributes, made=made, context=context_of(parent))


def emit_message_span(
    task: str, message_id: str, made: Made, *, parent: SpanContext, links: Sequence[Link] = ()
) -> SpanContext:
    """Make the span again in which Celery handled a message, ``run/{task}``."""
    attributes = {key.CELERY_ACTION: "run", key.CELERY_TASK: task, key.MESSAGE_ID: message_id}
    return _emit(f"run/{task}", SpanKind.CONSUMER, attributes, made=made, context=context_of(parent), links=links)


def sending_of(message_id: str, *, trace: SpanContext | None) -> SpanContext:
    """Return the context of the span in which a message was sent, in ``trace`` or, where it is shared, in its own."""
    own = int(trace_of(message_id), 16)
    return SpanContext(
        trace.trace_id if trace else own,
        int(sent_span(message_id), 16),
        is_remote=True,
        trace_flags=trace.trace_flags if trace else light_tracer().flags_of(own),
    )


def _emit(
    name: str, kind: SpanKind, attributes: Attributes, *, made: Made, context: Context, links: Sequence[Link] = ()
) -> SpanContext:
    with CURRENT.ids.deciding(made.span_id):
        span = CURRENT.tracer.start_span(name, context, kind, attributes, links, made.began)
    span.set_attribute(key.RECOVERED, True)
    span.set_attribute(key.WORKER, made.process)
    if made.outcome is not None:
        span.set_attribute(key.OUTCOME, made.outcome)
    if made.outcome == AttemptOutcome.LOST:
        span.set_attribute(key.ERROR_TYPE, made.outcome)
        span.set_status(Status(StatusCode.ERROR, made.outcome))
    elif made.error is not None:
        record_error(span, made.error)
    span.end(max(made.began, made.ended))
    return span.get_span_context()
