"""Celery's own message spans, by its instrumentation, and the hole in it closed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from celery import Task
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.celery.utils import detach_context, retrieve_context

from observability.tracing.provider import LIGHT
from observability.tracing.spans import record_error

_INSTRUMENTOR: Final = CeleryInstrumentor()  # type: ignore[no-untyped-call]  # it has no annotations


def instrument_celery() -> None:
    """Let Celery make ``apply_async/{task}`` and ``run/{task}`` spans, parent and child. Twice does nothing more.

    Connected to Celery's signals, it holds for every pool; a prefork child only has to configure its tracing.
    """
    if not _INSTRUMENTOR.is_instrumented_by_opentelemetry:
        _INSTRUMENTOR.instrument(tracer_provider=LIGHT)


@contextmanager
def publishing(task: Task, task_id: str, *, context: Context | None = None) -> Iterator[None]:
    """Send one message inside this block, as a child of ``context`` (the current one by default).

    The instrumentation ends its span only after a send that succeeded. Otherwise it leaves the span open, current and
    in the task's table for ever, and the next message becomes its child. Here it ends, as an error, and what was
    current before is current again.
    """
    token = otel_context.attach(otel_context.get_current() if context is None else context)
    try:
        yield
    except BaseException as error:
        _end_publish_span(task, task_id, error)
        raise
    finally:
        otel_context.detach(token)


def _end_publish_span(task: Task, task_id: str, error: BaseException) -> None:
    left = retrieve_context(task, task_id, is_publish=True)
    if left:
        span, activation, _ = left
        record_error(span, error)
        activation.__exit__(None, None, None)
        detach_context(task, task_id, is_publish=True)
