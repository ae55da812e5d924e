from collections.abc import Mapping, Sequence

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanKind, StatusCode, get_current_span, get_tracer, use_span
from opentelemetry.util.types import AttributeValue

from observability.tracing import context_from, node_span
from observability.tracing.ids import SpanIds
from observability.tracing.light_span import Ended, LightSpan, LightTracer
from observability.tracing.trace_context import span_context_of

_SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_OTHER = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203332-01"


class Kept:
    def __init__(self) -> None:
        self.spans: list[LightSpan] = []

    def take_all(self, spans: Sequence[Ended]) -> None:
        self.spans += [span for span in spans if isinstance(span, LightSpan)]


def _tracer(kept: Kept, share: float = 1.0) -> LightTracer:
    resource = Resource.create({"service.name": "s", "service.instance.id": "i"})
    scope = InstrumentationScope("throughline", "1.2", "https://example.org/schema")
    return LightTracer(scope, resource=resource, share=share, ids=SpanIds(), sinks=[kept])


def _decoded(span: LightSpan) -> ExportTraceServiceRequest:
    encoded = span.encode()
    assert encoded is not None
    return ExportTraceServiceRequest.FromString(span.tracer.envelope.request([encoded]))


@pytest.mark.parametrize("kind", list(SpanKind))
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"text": "é ✓", "empty": "", "long": "x" * 5000},
        {"one": 1, "true": True, "float": 1.0, "zero": 0, "negative": -5, "large": 2**63 - 1, "small": -(2**63)},
    ],
)
def test_what_is_written_is_what_the_sdk_would_have_written(
    kind: SpanKind, attributes: Mapping[str, AttributeValue]
) -> None:
    kept = Kept()
    tracer = _tracer(kept)
    link, later = span_context_of(_OTHER), span_context_of(_SAMPLED)
    assert link
    assert later
    root = tracer.start_span("root", context_from(None), kind, attributes)
    with use_span(root, end_on_exit=True):
        child = tracer.start_span(
            "child", None, kind, attributes, [Link(link, {"why": "x"})], 1_700_000_000_000_000_001
        )
        child.add_link(later)
        child.set_status(StatusCode.ERROR, "it went wrong")
        child.end()
    tracer.start_span("of another process", context_from(_SAMPLED), kind, attributes).end()
    assert [span.name for span in kept.spans] == ["child", "root", "of another process"]
    for span in kept.spans:
        assert _decoded(span) == encode_spans([span.readable()])


@pytest.mark.parametrize("value", [[1, 2], ("a",), 2**63, b"bytes"])
def test_what_is_not_plain_is_left_to_the_sdk(value: AttributeValue) -> None:
    kept = Kept()
    span = _tracer(kept).start_span("s")
    span.set_attribute("odd", value)
    span.end()
    assert kept.spans[0].encode() is None
    assert "odd" in (kept.spans[0].readable().attributes or {})


def test_an_exception_is_an_event_with_its_type_message_and_stack() -> None:
    kept = Kept()
    with pytest.raises(ValueError, match="no"), _tracer(kept).start_as_current_span("s"):
        raise ValueError("no")
    (event,) = kept.spans[0].readable().events
    assert (event.attributes or {})["exception.message"] == "no"
    assert "test_light_span.py" in str((event.attributes or {})["exception.stacktrace"])
    assert kept.spans[0].readable().status.status_code is StatusCode.ERROR


def test_a_span_that_has_ended_changes_no_more_and_is_given_on_once() -> None:
    kept = Kept()
    span = _tracer(kept).start_span("s")
    span.end(5)
    span.set_attribute("late", 1)
    span.update_name("late")
    span.add_event("late")
    span.end(9)
    assert not span.is_recording()
    (ended,) = kept.spans
    assert (ended.name, ended.end_time, dict(ended.readable().attributes or {})) == ("s", 5, {})
    assert not ended.readable().events


@pytest.mark.parametrize(
    ("traceparent", "share", "kept_spans"),
    [(_SAMPLED, 0.0, 1), (_SAMPLED[:-1] + "0", 1.0, 0), (None, 1.0, 1), (None, 0.0, 0)],
)
def test_a_parents_choice_stands_and_the_share_is_for_new_traces(
    traceparent: str | None, share: float, kept_spans: int
) -> None:
    kept = Kept()
    span = _tracer(kept, share).start_span("s", context_from(traceparent))
    span.end()
    assert len(kept.spans) == kept_spans
    context = span.get_span_context()
    assert context.is_valid
    assert context.trace_flags.sampled == bool(kept_spans)
    if traceparent:
        assert f"{context.trace_id:032x}" in traceparent


def test_spans_of_users_code_are_children_of_the_node_they_are_made_in(spans: InMemorySpanExporter) -> None:
    with node_span("n", pipeline="p", run_id="r", attempt=1, context=context_from(_SAMPLED)) as node:
        assert get_current_span() is node
        with get_tracer("theirs").start_as_current_span("inner"):
            get_current_span().set_attribute("mine", 1)
    inner, outer = spans.get_finished_spans()
    assert inner.parent is not None
    assert (inner.name, inner.parent.span_id) == ("inner", outer.context.span_id)
