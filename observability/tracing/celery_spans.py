"""Celery's own message spans, by its instrumentation, and the two holes in it closed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from celery import Task
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.celery.utils import detach_context

from observability.tracing.provider import CURRENT
from observability.tracing.spans import record_error

_INSTRUMENTOR: Final = CeleryInstrumentor()  # type: ignore[no-untyped-call]  # it has no annotations


def instrument_celery() -> None:
    """Let Celery make ``apply_async/{task}`` and ``run/{task}`` spans, parent and child. Twice does nothing more.

    Connected to Celery's signals, it holds for every pool; a prefork child only has to configure its tracing.
    """
    if not _INSTRUMENTOR.is_instrumented_by_opentelemetry:
        _INSTRUMENTOR.instrument(tracer_provider=CURRENT)


@contextmanager
def publishing(task: Task, task_id: str, *, context: Context | None = None) -> Iterator[None]:
    """Send one message inside this block, as a child of ``context`` (the current one by default).

    The instrumentation ends its span only after a send that succeeded, of a task that Celery's current app knows. Else
    it leaves the span open, current and in the task's table for ever, and the next message becomes its child. Here it
    ends, as an error if it is one, and what was current before is current again.
    """
    token = otel_context.attach(otel_context.get_current() if context is None else context)
    outside = trace.get_current_span()
    try:
        yield
    except BaseException as error:
        if (left := trace.get_current_span()) is not outside:
            record_error(left, error)
        raise
    finally:
        if (left := trace.get_current_span()) is not outside:
            left.end()
            detach_context(task, task_id, is_publish=True)
        otel_context.detach(token)
