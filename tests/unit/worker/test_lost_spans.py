from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from events import AttemptOutcome, NodeStatus, new_id
from observability.tracing import configure_tracing, handled_span, new_message_id
from observability.tracing.message_ids import sent_span, trace_of
from settings import TelemetrySettings
from storage.dead_attempts import DeadAttempt, DeadNode
from worker.lost_spans import SharedMessages, emit

TRACE, ACCEPT, OWN, BEFORE, NODE = "ab" * 16, "cd" * 8, "11" * 8, "22" * 8, "33" * 8
WORKER = "worker@host#1"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def made() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing = configure_tracing(TelemetrySettings(), service="relay", processors=[SimpleSpanProcessor(exporter)])
    yield exporter
    tracing.shutdown()


def attempt(task_id: str | None, outcome: AttemptOutcome = AttemptOutcome.SUCCEEDED, **more: Any) -> DeadAttempt:
    node = DeadNode(
        node="first",
        item=0,
        status=NodeStatus.SUCCEEDED,
        error=None,
        started_at=BEGAN,
        duration_seconds=0.5,
        span_id=NODE,
    )
    told: dict[str, Any] = {
        "span_id": OWN,
        "previous_span_id": None,
        "error": None,
        "traceparent": f"00-{TRACE}-{ACCEPT}-01",
        **more,
    }
    return DeadAttempt(
        tenant="default",
        run_id=new_id(),
        attempt=1,
        worker=WORKER,
        task_id=task_id,
        started_at=BEGAN,
        finished_at=BEGAN + timedelta(seconds=2),
        outcome=outcome,
        event_id=new_id(),
        event_type="t",
        pipeline="p",
        queue="default",
        nodes=[node],
        **told,
    )


def make(attempts: list[DeadAttempt]) -> None:
    messages = SharedMessages()
    emit(attempts, messages)
    messages.emit()


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    """The ids of the trace, of the span and of its parent."""
    assert span.context is not None
    assert span.parent is not None
    return tuple(f"{number:x}" for number in (span.context.trace_id, span.context.span_id, span.parent.span_id))  # type: ignore[return-value]  # three


def links(span: ReadableSpan) -> set[tuple[str, str, str]]:
    return {
        (
            str((link.attributes or {})["throughline.link"]),
            f"{link.context.trace_id:032x}",
            f"{link.context.span_id:016x}",
        )
        for link in span.links
    }


def test_a_message_with_one_run_stands_again_between_its_sending_and_the_run(made: InMemorySpanExporter) -> None:
    message = new_message_id(shared=False)
    make([attempt(message)])
    handled, run, node = made.get_finished_spans()
    above = handled_span(message, process=WORKER).lstrip("0")
    assert ids(handled) == (TRACE, above, sent_span(message).lstrip("0"))
    assert ids(run) == (TRACE, OWN, above)
    assert ids(node) == (TRACE, NODE, OWN)
    assert [span.name for span in (handled, run, node)] == ["run/process_incoming_event", "process p", "first"]
    for span in (handled, run, node):
        assert (span.attributes or {})["throughline.recovered"] is True
        assert (span.attributes or {})["throughline.worker"] == WORKER
    assert (run.end_time or 0) - (run.start_time or 0) == 2_000_000_000
    assert (node.end_time or 0) - (node.start_time or 0) == 500_000_000


def test_a_message_with_several_runs_stands_again_in_its_own_trace_linked_both_ways(made: InMemorySpanExporter) -> None:
    message = new_message_id(shared=True)
    others = {"span_id": "44" * 8, "traceparent": f"00-{'ef' * 16}-{ACCEPT}-01"}
    make([attempt(message), attempt(message, **others)])
    spans = made.get_finished_spans()
    runs = [span for span in spans if span.name == "process p"]
    (handled,) = [span for span in spans if span.name.startswith("run/")]
    own = handled_span(message, process=WORKER)
    assert ids(handled) == (trace_of(message).lstrip("0"), own.lstrip("0"), sent_span(message).lstrip("0"))
    assert [ids(run)[2] for run in runs] == [ACCEPT, ACCEPT]
    assert [links(run) for run in runs] == [{("message", trace_of(message), own)}] * 2
    assert links(handled) == {("run", TRACE, OWN), ("run", "ef" * 16, "44" * 8)}


def test_a_message_of_somebody_elses_is_not_made_up(made: InMemorySpanExporter) -> None:
    for task_id in ("2b1d8c4e-0000-4000-8000-000000000000", None):
        make([attempt(task_id)])
        run, node = made.get_finished_spans()
        assert (ids(run)[2], ids(node)[2]) == (ACCEPT, OWN)
        made.clear()


def test_a_lost_try_is_an_error_linked_to_the_one_before(made: InMemorySpanExporter) -> None:
    make(
        [attempt(None, AttemptOutcome.LOST, previous_span_id=BEFORE, error={"type": "ProcessDied", "message": "gone"})]
    )
    run, _ = made.get_finished_spans()
    assert (run.status.status_code, run.status.description) == (StatusCode.ERROR, "lost")
    assert links(run) == {("retry_of", TRACE, BEFORE)}


def test_a_try_that_failed_tells_its_error_and_one_that_was_cancelled_has_none(made: InMemorySpanExporter) -> None:
    error = {"type": "ValueError", "message": "no", "node": "first", "traceback": "…"}
    make([attempt(None, AttemptOutcome.FAILED, error=error), attempt(None, AttemptOutcome.CANCELLED, error=error)])
    failed, cancelled = [span for span in made.get_finished_spans() if span.name == "process p"]
    assert (failed.attributes or {})["error.type"] == "ValueError"
    assert (cancelled.status.status_code, (cancelled.attributes or {})["throughline.outcome"]) == (
        StatusCode.UNSET,
        "cancelled",
    )


@pytest.mark.parametrize("traceparent", [None, f"00-{TRACE}-{ACCEPT}-00"])
def test_an_event_without_a_trace_that_is_kept_gets_no_spans(
    made: InMemorySpanExporter, traceparent: str | None
) -> None:
    make([attempt(new_message_id(shared=False), traceparent=traceparent)])
    assert made.get_finished_spans() == ()
