from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import EncodeError
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from observability.tracing import accept_span, context_from, traceparent_of
from observability.tracing.celery_spans import instrument_celery, publishing
from observability.tracing.message_ids import sent_span

_TASK = "throughline.process"
_PUBLISH = f"apply_async/{_TASK}"


def _process(run_ids: list[str]) -> list[str]:
    return run_ids


@pytest.fixture
def task(spans: InMemorySpanExporter) -> Iterator[Any]:
    """A task of an app whose broker is this process's memory."""
    assert not spans.get_finished_spans()
    instrument_celery()
    instrument_celery()
    app = Celery("test", broker="memory://", set_as_current=True)
    yield app.task(name=_TASK)(_process)
    CeleryInstrumentor().uninstrument()  # type: ignore[no-untyped-call]  # it has no annotations


def _accepted() -> str | None:
    with accept_span("e", "t", tenant="x", context=context_from(None)):
        return traceparent_of()


def test_a_message_is_a_child_of_the_event_it_was_sent_for_and_is_there_once(
    spans: InMemorySpanExporter, task: Any
) -> None:
    with publishing(task, "m1", context=context_from(_accepted())):
        task.apply_async((["r1"],), task_id="m1")
    accept, publish = spans.get_finished_spans()
    assert (publish.name, publish.kind) == (_PUBLISH, SpanKind.PRODUCER)
    assert publish.parent is not None
    assert publish.parent.span_id == accept.context.span_id
    assert publish.context.span_id == int(sent_span("m1"), 16)
    assert "r1" not in publish.to_json()


def test_a_send_that_failed_ends_its_span_and_the_next_one_is_not_its_child(
    spans: InMemorySpanExporter, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = trace.get_current_span()
    with pytest.raises(EncodeError), publishing(task, "m1", context=context_from(_accepted())):
        task.apply_async((object(),), task_id="m1")
    assert trace.get_current_span() is before
    with publishing(task, "m2", context=context_from(None)):
        task.apply_async((["r1"],), task_id="m2")
    _, failed, sent = spans.get_finished_spans()
    assert failed.status.status_code is StatusCode.ERROR
    assert (sent.parent, sent.status.status_code) == (None, StatusCode.UNSET)
    assert not getattr(task, "__otel_task_span")
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def test_the_span_of_a_task_that_the_publisher_does_not_know_ends_too(spans: InMemorySpanExporter, task: Any) -> None:
    before = trace.get_current_span()
    with publishing(task, "m1", context=context_from(None)):
        task.app.send_task("made.elsewhere", (["r1"],), task_id="m1")
    assert trace.get_current_span() is before
    assert [span.name for span in spans.get_finished_spans()] == ["apply_async/made.elsewhere"]
