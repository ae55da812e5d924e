import asyncio

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_tracer
from pydantic import BaseModel

from events import ErrorInfo
from observability import attributes
from observability.tracing import (
    Made,
    RunIds,
    accept_span,
    configure_tracing,
    context_from,
    emit_run_span,
    new_span_id,
    node_span,
    run_span,
    server_span,
    set_outcome,
    set_response,
    traceparent_of,
)
from settings import TelemetrySettings

_RUN = RunIds(run_id="r1", event_id="e1", event_type="github.issues", pipeline="triage", attempt=2, queue="default")
_SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_UNSAMPLED = _SAMPLED[:-1] + "0"


def _only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def _attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_request_is_a_server_span_named_by_its_route_and_never_carries_the_query(spans: InMemorySpanExporter) -> None:
    with server_span("POST", "/events/1", scheme="https", server=("example.org", 8443)) as span:
        set_response(span, method="POST", status=202, route="/events/{id}")
    ended = _only(spans)
    assert (ended.name, ended.kind, ended.status.status_code) == (
        "POST /events/{id}",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert _attributes(ended) == {
        "http.request.method": "POST",
        "url.path": "/events/1",
        "url.scheme": "https",
        "server.address": "example.org",
        "server.port": 8443,
        "http.response.status_code": 202,
        "http.route": "/events/{id}",
    }


@pytest.mark.parametrize(("status", "code"), [(422, StatusCode.UNSET), (503, StatusCode.ERROR)])
def test_only_the_servers_own_failures_are_errors(spans: InMemorySpanExporter, status: int, code: StatusCode) -> None:
    with server_span("POST", "/events") as span:
        set_response(span, method="POST", status=status, route="/events")
    assert _only(spans).status.status_code is code


def test_an_unknown_method_makes_no_span_name_of_its_own(spans: InMemorySpanExporter) -> None:
    with server_span("BREW", "/coffee") as span:
        set_response(span, method="BREW", status=405, route=None)
    assert _only(spans).name == "_OTHER"


def test_a_run_carries_its_ids_and_its_nodes_are_its_children(spans: InMemorySpanExporter) -> None:
    with run_span(_RUN), node_span("classify", pipeline="triage", run_id="r1", attempt=2, item=3):
        pass
    node, run = spans.get_finished_spans()
    assert (run.name, run.kind) == ("process triage", SpanKind.CONSUMER)
    assert node.parent is not None
    assert node.parent.span_id == run.context.span_id
    assert (
        _attributes(run).items()
        >= {
            "throughline.run.id": "r1",
            "throughline.event.id": "e1",
            "throughline.event.type": "github.issues",
            "throughline.pipeline": "triage",
            "throughline.attempt": 2,
            "messaging.destination.name": "default",
        }.items()
    )
    assert _attributes(node) == {
        "throughline.node": "classify",
        "throughline.pipeline": "triage",
        "throughline.run.id": "r1",
        "throughline.attempt": 2,
        "throughline.item": 3,
    }


async def test_runs_on_one_loop_keep_to_their_own_traces(spans: InMemorySpanExporter) -> None:
    async def work(number: int) -> None:
        with accept_span(f"e{number}", "t", tenant="x", context=context_from(None)):
            await asyncio.sleep(0)
            with run_span(_RUN):
                await asyncio.sleep(0)
                with node_span("n", pipeline="p", run_id="r", attempt=1):
                    await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(3)))
    traces = [span.context.trace_id for span in spans.get_finished_spans()]
    assert sorted(traces.count(trace) for trace in set(traces)) == [3, 3, 3]


def test_an_exception_marks_the_span_and_goes_on(spans: InMemorySpanExporter) -> None:
    def fail() -> None:
        with node_span("n", pipeline="p", run_id="r", attempt=1):
            raise ConnectionError("postgresql://app:hunter2@db/x refused " + "x" * 5000)

    with pytest.raises(ConnectionError):
        fail()
    ended = _only(spans)
    assert ended.status.status_code is StatusCode.ERROR
    assert _attributes(ended)[attributes.ERROR_TYPE] == "ConnectionError"
    (event,) = ended.events
    message = str((event.attributes or {})[attributes.EXCEPTION_MESSAGE])
    assert "refused" in message
    assert "hunter2" not in message + str(ended.status.description)
    assert len(message) <= 500


def test_a_validation_error_does_not_take_the_data_along(spans: InMemorySpanExporter) -> None:
    class Issue(BaseModel):
        number: int

    def fail() -> None:
        with node_span("n", pipeline="p", run_id="r", attempt=1):
            Issue.model_validate({"number": "somebody's private text"})

    with pytest.raises(ValueError, match="number"):
        fail()
    ended = _only(spans)
    assert "number" in str(ended.status.description)
    assert "private" not in ended.to_json()


async def test_a_cancelled_node_is_told_as_such_and_not_as_an_error(spans: InMemorySpanExporter) -> None:
    began = asyncio.Event()

    async def wait() -> None:
        with node_span("n", pipeline="p", run_id="r", attempt=1):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _only(spans).status.status_code is StatusCode.UNSET
    assert _attributes(_only(spans))[attributes.OUTCOME] == "cancelled"


def test_an_outcome_can_be_told_without_an_exception(spans: InMemorySpanExporter) -> None:
    with run_span(_RUN) as span:
        set_outcome(span, "failed", ErrorInfo(type="ValueError", message="no", node="classify"))
    assert _only(spans).status.status_code is StatusCode.ERROR
    assert _attributes(_only(spans))[attributes.OUTCOME] == "failed"


def test_a_run_takes_the_span_id_that_was_stored_and_the_next_span_does_not(spans: InMemorySpanExporter) -> None:
    stored = new_span_id()
    with run_span(_RUN, span_id=stored), node_span("n", pipeline="p", run_id="r", attempt=1):
        pass
    node, run = spans.get_finished_spans()
    assert format(run.context.span_id, "016x") == stored
    assert node.context.span_id != run.context.span_id


def test_the_span_of_a_lost_try_is_made_afterwards_where_its_nodes_look_for_it(spans: InMemorySpanExporter) -> None:
    stored = new_span_id()
    made = Made(span_id=stored, began=1_000, ended=5_000, process="w#1", outcome="lost")
    emit_run_span(_RUN, made, context=context_from(_SAMPLED))
    ended = _only(spans)
    assert format(ended.context.span_id, "016x") == stored
    assert format(ended.context.trace_id, "032x") in _SAMPLED
    assert (ended.start_time, ended.end_time) == (1_000, 5_000)
    assert ended.status.status_code is StatusCode.ERROR
    assert _attributes(ended)[attributes.OUTCOME] == "lost"
    assert (_attributes(ended)[attributes.RECOVERED], _attributes(ended)[attributes.WORKER]) == (True, "w#1")


@pytest.mark.parametrize(("traceparent", "ratio", "kept"), [(_SAMPLED, 0.0, 1), (_UNSAMPLED, 1.0, 0), (None, 0.0, 0)])
def test_a_callers_choice_to_sample_stands_against_the_ratio(traceparent: str | None, ratio: float, kept: int) -> None:
    exporter = InMemorySpanExporter()
    configure_tracing(
        TelemetrySettings(sample_ratio=ratio), service="test", processors=(SimpleSpanProcessor(exporter),)
    )
    with accept_span("e", "t", tenant="x", context=context_from(traceparent)):
        handed_on = traceparent_of()
    with run_span(_RUN, context=context_from(handed_on)):
        pass
    assert len(exporter.get_finished_spans()) == 2 * kept


def test_without_anywhere_to_export_to_there_are_ids_all_the_same() -> None:
    configure_tracing(TelemetrySettings(), service="test")
    with accept_span("e", "t", tenant="x") as span:
        assert traceparent_of() is not None
        assert not span.is_recording()


def test_tracers_made_before_use_what_is_configured_afterwards() -> None:
    before = get_tracer("somebody.else")
    for _ in range(2):
        exporter = InMemorySpanExporter()
        configure_tracing(TelemetrySettings(), service="test", processors=(SimpleSpanProcessor(exporter),))
        with accept_span("e", "t", tenant="x"), before.start_as_current_span("theirs"):
            pass
        theirs, ours = exporter.get_finished_spans()
        assert theirs.parent == ours.context
