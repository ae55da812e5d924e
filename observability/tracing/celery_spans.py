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

    The publisher must have the task registered in Celery's current app: for a task that it can't find, the
    instrumentation never ends the publish span and leaves it current.
    """
    if not _INSTRUMENTOR.is_instrumented_by_opentelemetry:
        _INSTRUMENTOR.instrument(tracer_provider=CURRENT)


@contextmanager
def publishing(task: Task, task_id: str, *, context: Context | None = None) -> Iterator[None]:
    """Send a message inside this block, as a child of ``context``.

    When sending fails, the instrumentation leaves its span open, current and in a table of the task's for ever. Here
    it ends as an error, and whatever is current afterwards is what was before.
    """
    before = otel_context.attach(context if context is not None else otel_context.get_current())
    outside = trace.get_current_span()
    try:
        yield
    except BaseException as error:
        inside = trace.get_current_span()
        if inside is not outside:
            record_error(inside, error)
            inside.end()
            detach_context(task, task_id, is_publish=True)
        raise
    finally:
        otel_context.detach(before)
