import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span

from observability import attributes
from observability.tracing import (
    LinkReason,
    accept_span,
    add_link,
    context_from,
    link_to,
    links_to,
    trace_id_of,
    traceparent_of,
)

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_VALID = f"00-{_TRACE}-b7ad6b7169203331-01"
_INVALID = [
    None,
    "",
    "garbage",
    _VALID.upper(),
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    f"00-{_TRACE}-{'0' * 16}-01",
    f"ff-{_TRACE}-b7ad6b7169203331-01",
    f"{_VALID}-more",
    f"00-{_TRACE}-b7ad6b7169203331",
    "0" * 100_000,
    "\x00\ud800",
]


@pytest.mark.parametrize("traceparent", _INVALID)
def test_an_invalid_traceparent_counts_as_none_and_is_not_worth_a_line(
    traceparent: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert not get_current_span(context_from(traceparent)).get_span_context().is_valid
        assert trace_id_of(traceparent) is None
        assert link_to(traceparent, reason=LinkReason.RUN) is None
    assert not caplog.records


@given(st.text(), st.text())
def test_no_text_at_all_is_an_error(traceparent: str, tracestate: str) -> None:
    context_from(traceparent, tracestate)
    context_from(_VALID, tracestate)


def test_a_later_version_of_the_format_is_read_as_this_one() -> None:
    assert trace_id_of(f"cc-{_TRACE}-b7ad6b7169203331-01-what-comes") == _TRACE


def test_a_span_in_a_callers_context_is_its_child_and_keeps_its_tracestate(spans: InMemorySpanExporter) -> None:
    with accept_span("e", "t", tenant="x", context=context_from(_VALID, "vendor=1")) as span:
        assert span.get_span_context().trace_state.get("vendor") == "1"
    (ended,) = spans.get_finished_spans()
    assert format(ended.context.trace_id, "032x") == _TRACE
    assert ended.parent is not None
    assert format(ended.parent.span_id, "016x") == "b7ad6b7169203331"


def test_without_a_callers_context_a_trace_begins_even_inside_another_span(spans: InMemorySpanExporter) -> None:
    with accept_span("e", "outer", tenant="x"), accept_span("e", "inner", tenant="x", context=context_from(None)):
        pass
    inner, outer = spans.get_finished_spans()
    assert inner.parent is None
    assert inner.context.trace_id != outer.context.trace_id


@pytest.mark.usefixtures("spans")
def test_what_is_written_is_read_back() -> None:
    assert traceparent_of() is None
    with accept_span("e", "t", tenant="x") as span:
        written = traceparent_of()
        assert written == traceparent_of(span)
    context = get_current_span(context_from(written)).get_span_context()
    assert (context.trace_id, context.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)
    assert context.trace_flags.sampled


def test_links_say_why_they_are_there_and_invalid_ones_are_left_out(spans: InMemorySpanExporter) -> None:
    assert len(links_to([_VALID, None, "garbage"], reason=LinkReason.MESSAGE)) == 1
    with accept_span("e", "t", tenant="x") as span:
        add_link(span, _VALID, reason=LinkReason.RETRY_OF)
        add_link(span, "garbage", reason=LinkReason.RETRY_OF)
    (link,) = spans.get_finished_spans()[0].links
    assert format(link.context.trace_id, "032x") == _TRACE
    assert link.attributes == {attributes.LINK: "retry_of"}
