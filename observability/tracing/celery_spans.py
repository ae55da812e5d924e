"""Celery's own message spans, by its instrumentation, and the hole in it closed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from celery import Task, signals
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.celery.utils import detach_context, retrieve_context

from observability.tracing.message_ids import handled_span, sent_span
from observability.tracing.provider import CURRENT, LIGHT
from observability.tracing.spans import record_error

_INSTRUMENTOR: Final = CeleryInstrumentor()  # type: ignore[no-untyped-call]  # it has no annotations


_BEFORE, _AFTER = "throughline-before-span", "throughline-after-span"


def instrument_celery(process: str | None = None) -> None:
    """Let Celery make ``apply_async/{task}`` and ``run/{task}`` spans, parent and child. Twice does nothing more.

    Connected to Celery's signals, it holds for every pool; a prefork child only has to configure its tracing.
    ``process``: the name, never used twice, of a process that handles messages; the ids of its ``run/{task}`` spans
    follow from it.
    """
    if _INSTRUMENTOR.is_instrumented_by_opentelemetry:
        return
    for uid in (_BEFORE, _AFTER):
        signals.task_prerun.disconnect(dispatch_uid=uid)
    if process is not None:
        signals.task_prerun.connect(partial(_decide, process), weak=False, dispatch_uid=_BEFORE)
    _INSTRUMENTOR.instrument(tracer_provider=LIGHT)
    signals.task_prerun.connect(_let_go, weak=False, dispatch_uid=_AFTER)


def _decide(process: str, *, task_id: str, **_: Any) -> None:
    CURRENT.ids.decide(handled_span(task_id, process=process))


def _let_go(**_: Any) -> None:
    CURRENT.ids.decide(None)


@contextmanager
def publishing(task: Task, task_id: str, *, context: Context | None = None) -> Iterator[None]:
    """Send one message inside this block, as a child of ``context`` (the current one by default).

    Its span's id follows from ``task_id``.

    The instrumentation ends its span only after a send that succeeded. Otherwise it leaves the span open, current and
    in the task's table for ever, and the next message becomes its child. Here it ends, as an error, and what was
    current before is current again.
    """
    token = otel_context.attach(otel_context.get_current() if context is None else context)
    try:
        with CURRENT.ids.deciding(sent_span(task_id)):
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
