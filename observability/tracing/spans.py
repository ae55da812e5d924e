"""The spans of an event's way, each with the attributes that OBSERVABILITY promises, made with the API directly.

Instrumentations cost several times as much. Nothing here ever carries data, headers or a query string.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final
from uuid import UUID

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, set_span_in_context
from pydantic import ValidationError

from events import ErrorInfo
from observability import attributes as key
from observability.metrics import method_label
from observability.redaction import redact_text
from observability.tracing.message_ids import trace_of
from observability.tracing.provider import CURRENT
from observability.tracing.trace_context import LinkReason, links_to

Attributes = Mapping[str, str | int | float | bool]

_LONGEST_MESSAGE: Final = 500
_LONGEST_READ: Final = 16_384


class ActiveSpan:
    """A span that is current inside ``with`` and ends with it; an exception that passes is recorded."""

    __slots__ = ("_context", "_token", "span")

    def __init__(self, span: Span, context: Context | None = None) -> None:
        self.span = span
        self._context = context

    def __enter__(self) -> Span:
        self._token = otel_context.attach(set_span_in_context(self.span, self._context))
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        if isinstance(error, Exception):
            record_error(self.span, error)
        elif error is not None:
            self.span.set_attribute(key.OUTCOME, "cancelled")
        self.span.end()


def server_span(
    method: str,
    path: str,
    *,
    context: Context | None = None,
    scheme: str = "http",
    server: tuple[str, int | None] | None = None,
    start_time: int | None = None,
) -> ActiveSpan:
    """Begin a request's span; ``context`` is what ``context_from`` made of the client's headers.

    ``server`` is host and port as the client addressed them, ``start_time`` nanoseconds since the epoch. Tell it the
    answer with ``set_response``.
    """
    label = method_label(method)
    attributes: dict[str, str | int] = {key.HTTP_METHOD: label, key.URL_PATH: path, key.URL_SCHEME: scheme}
    if server:
        attributes[key.SERVER_ADDRESS] = server[0]
        if server[1]:
            attributes[key.SERVER_PORT] = server[1]
    return _begin(label, SpanKind.SERVER, attributes, context=context, start_time=start_time)


def set_response(span: Span, *, method: str, status: int, route: str | None) -> None:
    """Tell a server span what was answered; ``route`` is the matched template. Only 5xx is the server's error."""
    if not span.is_recording():
        return
    span.set_attribute(key.HTTP_STATUS, status)
    if route:
        span.update_name(f"{method_label(method)} {route}")
        span.set_attribute(key.HTTP_ROUTE, route)
    if status >= 500:  # noqa: PLR2004 - HTTP's own
        span.set_attribute(key.ERROR_TYPE, str(status))
        span.set_status(Status(StatusCode.ERROR))


def accept_span(
    event_id: UUID | str,
    event_type: str,
    *,
    tenant: str,
    context: Context | None = None,
    links: Sequence[Link] = (),
    start_time: int | None = None,
) -> ActiveSpan:
    """Begin the span in which an event is taken in; what the event's later spans are children of."""
    attributes = {key.EVENT_ID: str(event_id), key.EVENT_TYPE: event_type, key.TENANT: tenant}
    return _begin("accept", SpanKind.INTERNAL, attributes, context=context, links=links, start_time=start_time)


def replay_span(
    run_id: UUID | str, *, event_id: UUID | str, pipeline: str, tenant: str, origin: str | None
) -> ActiveSpan:
    """Begin the span in which a run is made that repeats another; what the new run's later spans are children of.

    It begins a trace, linked to ``origin``, the traceparent of what is repeated.
    """
    attributes = {key.RUN_ID: str(run_id), key.EVENT_ID: str(event_id), key.PIPELINE: pipeline, key.TENANT: tenant}
    links = links_to([origin], reason=LinkReason.REPLAY_OF)
    return _begin("replay", SpanKind.INTERNAL, attributes, context=Context(), links=links)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIds:
    """What a run's span tells of the run."""

    run_id: UUID | str
    event_id: UUID | str
    event_type: str
    pipeline: str
    attempt: int
    queue: str

    def attributes(self) -> Attributes:
        """Return them as span attributes, those of the messaging conventions included."""
        return {
            key.RUN_ID: str(self.run_id),
            key.EVENT_ID: str(self.event_id),
            key.EVENT_TYPE: self.event_type,
            key.PIPELINE: self.pipeline,
            key.ATTEMPT: self.attempt,
            key.MESSAGING_SYSTEM: "celery",
            key.MESSAGING_OPERATION_NAME: "process",
            key.MESSAGING_OPERATION_TYPE: "process",
            key.MESSAGING_DESTINATION: self.queue,
        }


def run_span(
    run: RunIds,
    *,
    context: Context | None = None,
    links: Sequence[Link] = (),
    span_id: str | None = None,
    start_time: int | None = None,
) -> ActiveSpan:
    """Begin the span of one try of a run, ``process {pipeline}``.

    It is a CONSUMER, as the messaging conventions have it for the processing of one message out of a batch, also where
    Celery's own span stands above it: a run looks the same whether it shared its message or not. ``span_id`` is the one
    that the claim stored, so that whoever rescues the run can end the span.
    """
    ids = CURRENT.ids
    ids.decide(span_id)
    try:
        return _begin(
            f"process {run.pipeline}",
            SpanKind.CONSUMER,
            run.attributes(),
            context=context,
            links=links,
            start_time=start_time,
        )
    finally:
        ids.decide(None)


def publish_span(pipeline: str, message_id: str, *, queue: str, links: Sequence[Link]) -> ActiveSpan:
    """Begin the span in which a message with several runs is sent, ``publish``.

    It begins a trace, linked to theirs, whose id follows from the message's.
    """
    attributes = {key.PIPELINE: pipeline, key.MESSAGING_DESTINATION: queue}
    with CURRENT.ids.deciding(None, trace_id=trace_of(message_id)):
        return _begin("publish", SpanKind.INTERNAL, attributes, context=Context(), links=links)


def node_span(
    node: str, *, pipeline: str, run_id: UUID | str, attempt: int, item: int = 0, context: Context | None = None
) -> ActiveSpan:
    """Begin a node's span, named after it."""
    attributes: dict[str, str | int] = {
        key.NODE: node,
        key.PIPELINE: pipeline,
        key.RUN_ID: str(run_id),
        key.ATTEMPT: attempt,
    }
    if item:
        attributes[key.ITEM] = item
    return _begin(node, SpanKind.INTERNAL, attributes, context=context)


def _begin(
    name: str,
    kind: SpanKind,
    attributes: Attributes,
    *,
    context: Context | None = None,
    links: Sequence[Link] = (),
    start_time: int | None = None,
) -> ActiveSpan:
    return ActiveSpan(CURRENT.tracer.start_span(name, context, kind, attributes, links, start_time), context)


def record_error(span: Span, error: BaseException | ErrorInfo) -> None:
    """Mark ``span`` as failed, with the error's class and its message: shortened, without credentials or input."""
    if not span.is_recording():
        return
    if isinstance(error, ErrorInfo):
        kind, message = error.type, error.message
    else:
        kind, message = type(error).__qualname__, _message_of(error)
    message = redact_text(message[:_LONGEST_READ])[:_LONGEST_MESSAGE]
    span.set_attribute(key.ERROR_TYPE, kind)
    span.add_event("exception", {key.EXCEPTION_TYPE: kind, key.EXCEPTION_MESSAGE: message})
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {message}"))


def set_outcome(span: Span, outcome: str, error: ErrorInfo | None = None) -> None:
    """Tell how a run or a node ended, in the words of ``events.status``; with ``error`` the span has failed."""
    span.set_attribute(key.OUTCOME, outcome)
    if error:
        record_error(span, error)


def _message_of(error: BaseException) -> str:
    """A validation error's own text quotes the input, which may be anybody's data."""
    try:
        if isinstance(error, ValidationError):
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in problems)
        return str(error)
    except Exception:  # noqa: BLE001 - an error that can't show itself is an error all the same
        return ""


def new_span_id() -> str:
    """Return an id for a span that will begin later, 16 hex digits."""
    return format(CURRENT.ids.generate_span_id(), "016x")
