import asyncio
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

from events import Cancelled, Failed, FailureKind, NodeStatus, Outcome, Succeeded
from observability.logs import bind, get_logger, hears_debug
from observability.metrics import Metrics, NodeOutcome, null_metrics
from observability.tracing import node_span, set_outcome
from pipelines.call import Ended, call
from pipelines.context import TaskContext
from pipelines.error_info import error_info
from pipelines.errors import InvalidOutputError
from pipelines.journal import Journal, NodeRecord
from pipelines.output import Output
from pipelines.pipeline import Pipeline
from pipelines.schema import SchemaT
from pipelines.steps import Step

_log = get_logger(__name__)
_hears_debug = hears_debug(__name__)


async def execute(
    pipeline: Pipeline[SchemaT], context: TaskContext[SchemaT], journal: Journal, *, metrics: Metrics | None = None
) -> Outcome:
    """Run what is left of a pipeline and say how it ended. Errors of the user's code are outcomes, never raised.

    A node that is done already is not called again. Results are recorded as they come, those of nodes with effects
    durably before the next node starts; ways that a router did not take are recorded as skipped. If ``context.cancel``
    was called, the run ends before its next node.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the node under way was, too.
        BaseException: whatever the journal raised.

    """
    try:
        _ = context.data
    except Exception as error:  # noqa: BLE001 - a schema's own validators may raise anything
        return Failed(kind=FailureKind.INVALID_EVENT, error=error_info(error))
    walk = _Walk(pipeline, context, journal, metrics or _unread_metrics())
    name: str | None = pipeline.start.name
    while name is not None:
        if context.cancel_reason is not None:
            return Cancelled(reason=context.cancel_reason)
        result = await walk.take(pipeline.steps[name])
        if isinstance(result, BaseException):
            return pipeline.decide(result, context, node=name)
        name = await walk.leave(pipeline.steps[name], result)
    return Succeeded()


@cache
def _unread_metrics() -> Metrics:
    return null_metrics()


class _Walk:
    """One try's way through the graph."""

    def __init__(self, pipeline: Pipeline[Any], context: TaskContext[Any], journal: Journal, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._context = context
        self._journal = journal
        self._metrics = metrics
        self._run_id = str(context.run_id)

    async def take(self, step: Step) -> Output | BaseException:
        """Return the step's output, from an earlier try if it is done, or the error it ended with."""
        earlier = self._context.done.get((step.name, 0))
        if earlier is not None and earlier.status is NodeStatus.SUCCEEDED:
            result = _restored(step, earlier)
        else:
            result = await self._call(step)
        if isinstance(result, Output):
            self._context.keep(step.name, step.codec, result.text)
        return result

    async def leave(self, step: Step, output: Output) -> str | None:
        """Return the name of the step that follows, None at the end, having recorded the ways not taken."""
        chosen = step.next(output.value)
        for name in step.skips.get(chosen, ()):
            if (name, 0) not in self._context.done:
                skipped = NodeRecord(node=name, status=NodeStatus.SKIPPED, started_at=datetime.now(UTC))
                await self._journal.record(skipped, durable=False)
        return chosen

    async def _call(self, step: Step) -> Output | BaseException:
        self._journal.begin()
        context = self._context.at(step.name)
        started_at, began = datetime.now(UTC), time.monotonic()
        span = node_span(step.name, pipeline=context.pipeline, run_id=self._run_id, attempt=context.attempt)
        with span as current, bind(node=step.name):
            try:
                result = _checked(step, await call(step, context))
            except asyncio.CancelledError:
                self._observe(step, NodeOutcome.CANCELLED, began)
                raise
            error = None if isinstance(result, Output) else error_info(result, node=step.name)
            status = NodeStatus.FAILED if error else NodeStatus.SUCCEEDED
            set_outcome(current, status, error)
            self._observe(step, NodeOutcome(status.value), began)
            if _hears_debug():
                _log.debug("node ended", status=status.value, duration=round(time.monotonic() - began, 6))
            span_id = current.get_span_context().span_id
        record = NodeRecord(
            node=step.name,
            status=status,
            output=result.value if isinstance(result, Output) else None,
            text=result.text if isinstance(result, Output) else None,
            error=error,
            started_at=started_at,
            duration=time.monotonic() - began,
            span_id=format(span_id, "016x") if span_id else None,
        )
        await self._journal.record(record, durable=step.node.effects and error is None)
        return result

    def _observe(self, step: Step, outcome: NodeOutcome, began: float) -> None:
        series = self._metrics.node_duration.labels(pipeline=self._pipeline.name, node=step.name, outcome=outcome)
        series.observe(time.monotonic() - began)


def _checked(step: Step, ended: Ended) -> Output | BaseException:
    if ended.error is not None:
        return ended.error
    try:
        output = step.codec.encode(ended.value)
        step.next(output.value)
    except InvalidOutputError as error:
        return InvalidOutputError(f"node {step.name!r} {error}")
    return output


def _restored(step: Step, earlier: NodeRecord) -> Output | BaseException:
    try:
        output = step.codec.restore(earlier.output)
        step.next(output.value)
    except InvalidOutputError as error:
        return InvalidOutputError(
            f"node {step.name!r}, done in an earlier try, can't be taken up: {error}; replay the event"
        )
    return output
