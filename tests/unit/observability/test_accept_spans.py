from collections.abc import Sequence

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Status, StatusCode

from events import new_id
from observability import attributes
from observability.tracing import AcceptSpan, AcceptSpans, accept_spans, span_context_of
from observability.tracing.ids import SpanIds
from observability.tracing.light_span import Ended, LightTracer

_REQUEST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Kept:
    def __init__(self) -> None:
        self.spans: list[Ended] = []

    def take_all(self, spans: Sequence[Ended]) -> None:
        self.spans += spans


def _begin(kept: Kept, types: Sequence[str], *, share: float = 1.0, request: str | None = _REQUEST) -> AcceptSpans:
    scope = InstrumentationScope("throughline", "1.2")
    resource = Resource.create({"service.name": "s"})
    tracer = LightTracer(scope, resource=resource, share=share, ids=SpanIds(), sinks=[kept])
    return AcceptSpans(tracer, [(str(new_id()), type_) for type_ in types], tenant="default", request=request)


def _same_as_the_sdks(span: Ended) -> bool:
    encoded = span.encode()
    assert encoded is not None
    request = ExportTraceServiceRequest.FromString(span.tracer.envelope.request([encoded]))
    return request == encode_spans([span.readable()])


@pytest.mark.parametrize("request_", [_REQUEST, None])
def test_what_is_written_by_a_pattern_is_what_the_sdk_would_have_written(request_: str | None) -> None:
    kept = Kept()
    begun = _begin(kept, ["a", "b", "é ✓", "x" * 200] * 6, request=request_)
    for number, span in enumerate(begun.spans):
        span.set_attribute(attributes.OUTCOME, ("accepted", "duplicate")[number % 3 // 2])
    odd, failed, silent = begun.spans[13:16]
    odd.set_attribute("more", "x")
    failed.set_attribute(attributes.ERROR_TYPE, "NotStored")
    failed.set_status(Status(StatusCode.ERROR, "PostgreSQL is away"))
    silent._attributes.clear()
    begun.end()
    assert kept.spans == begun.spans
    assert all(map(_same_as_the_sdks, kept.spans))
    for span in begun.spans:
        assert isinstance(span, AcceptSpan)
        assert span.encode() == span.light().encode()
    assert failed.readable().status.description == "PostgreSQL is away"


def test_each_begins_a_trace_that_its_traceparent_names() -> None:
    kept = Kept()
    begun = _begin(kept, ["a"] * 100)
    begun.end()
    traceparents = [span.traceparent for span in begun.spans]
    assert len({one[3:35] for one in traceparents}) == len({one[36:52] for one in traceparents}) == 100
    for span in begun.spans:
        named, ended = span_context_of(span.traceparent), span.readable()
        assert named
        assert ended.context
        assert (named.trace_id, named.span_id) == (ended.context.trace_id, ended.context.span_id)
        assert named.trace_flags == ended.context.trace_flags
        assert ended.parent is None
        assert [link.context.span_id for link in ended.links] == [0xB7AD6B7169203331]
        assert ended.start_time
        assert ended.end_time
        assert ended.start_time <= ended.end_time


def test_only_the_share_that_is_sampled_is_given_on_and_its_traceparent_says_so() -> None:
    kept = Kept()
    begun = _begin(kept, ["a"] * 400, share=0.5)
    begun.end()
    assert kept.spans == [span for span in begun.spans if span.traceparent.endswith("-03")]
    assert 100 < len(kept.spans) < 300
    assert {span.traceparent[-3:] for span in begun.spans} == {"-02", "-03"}


def test_where_nothing_is_configured_they_have_ids_and_go_nowhere() -> None:
    begun = accept_spans([("e", "t")], tenant="x", request=None)
    begun.spans[0].set_attribute(attributes.OUTCOME, "accepted")
    begun.end()
    assert span_context_of(begun.spans[0].traceparent)


def test_those_that_are_configured_go_where_all_spans_go(spans: InMemorySpanExporter) -> None:
    begun = accept_spans([("e1", "t"), ("e2", "t")], tenant="x", request=_REQUEST)
    begun.end()
    assert [(span.attributes or {})[attributes.EVENT_ID] for span in spans.get_finished_spans()] == ["e1", "e2"]
