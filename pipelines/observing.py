import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from events import ErrorInfo, NodeStatus
from observability.logs import bind, get_logger, hears_debug
from observability.metrics import Metrics, NodeOutcome
from observability.tracing import node_span, set_outcome
from pipelines.context import TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.journal import Journal, NodeRecord
from pipelines.judging import joined
from pipelines.output import Output, OutputCodec
from pipelines.results import Broke, GivenUp, Result, Stopped
from pipelines.steps import Step

_log = get_logger(__name__)
_hears_debug = hears_debug(__name__)

_WORDS: Final = OutputCodec(dict[str, str])
"""For what is recorded of a node that stopped or was given up."""

Work = Callable[[Step, TaskContext[Any]], Awaitable[Result]]


class _Ending(NamedTuple):
    """How a step ended, as it is recorded."""

    status: NodeStatus
    result: Result
    output: Output | None = None
    error: ErrorInfo | None = None


class Observer:
    """Has steps seen by traces, metrics and logs while they are worked at, and recorded when they have ended."""

    def __init__(self, journal: Journal, metrics: Metrics, *, run_id: str, is_final: Callable[[Broke], bool]) -> None:
        self._journal = journal
        self._metrics = metrics
        self._run_id = run_id
        self._is_final = is_final

    async def see(self, step: Step, context: TaskContext[Any], work: Work, *, item: int = 0) -> Result:
        """Do ``work`` for a step, or one of its items, and return what it came to; that is recorded if it has ended."""
        self._journal.begin()
        view = context.at(step.name, item=item)
        started_at, began = datetime.now(UTC), time.monotonic()
        span = node_span(step.name, pipeline=view.pipeline, run_id=self._run_id, attempt=view.attempt, item=item)
        with span as current, bind(node=step.name, item=item) if item else bind(node=step.name):
            try:
                result = await work(step, view)
            except asyncio.CancelledError:
                self._observe(step, view, NodeOutcome.CANCELLED, time.monotonic() - began)
                raise
            ending = self._ending(step, result)
            if ending is None:
                return result
            duration = time.monotonic() - began
            set_outcome(current, ending.status, ending.error)
            if item or not step.item_codec:
                self._observe(step, view, NodeOutcome.FAILED if ending.error else NodeOutcome.SUCCEEDED, duration)
            if _hears_debug():
                _log.debug("node ended", status=ending.status.value, duration=round(duration, 6))
            span_id = current.get_span_context().span_id
        record = _record(view, ending, started_at=started_at, duration=duration, span_id=span_id)
        await self._journal.record(record, durable=step.node.effects and ending.output is not None)
        return ending.result

    async def skip(self, name: str) -> None:
        """Record that a node does not run."""
        skipped = NodeRecord(node=name, status=NodeStatus.SKIPPED, started_at=datetime.now(UTC))
        await self._journal.record(skipped, durable=False)

    def _ending(self, step: Step, result: Result) -> _Ending | None:
        if isinstance(result, Output):
            return _Ending(NodeStatus.SUCCEEDED, result, result)
        if isinstance(result, Stopped):
            try:
                return _Ending(NodeStatus.STOPPED, result, _WORDS.encode({"reason": result.reason}))
            except InvalidOutputError as refused:
                result = Broke(((step.name, InvalidOutputError(f"node {step.name!r} stopped for what {refused}")),))
        if not isinstance(result, Broke):
            return None
        error = joined(result.errors, of=result.of)
        if not (step.keeps_failure and self._is_final(result)):
            return _Ending(NodeStatus.FAILED, result, error=error)
        given_up = GivenUp(f"{error.type}: {error.message}")
        return _Ending(NodeStatus.FAILED, given_up, _WORDS.encode({"given_up": given_up.message}), error)

    def _observe(self, step: Step, context: TaskContext[Any], outcome: NodeOutcome, duration: float) -> None:
        series = self._metrics.node_duration.labels(pipeline=context.pipeline, node=step.name, outcome=outcome)
        series.observe(duration)


def _record(
    view: TaskContext[Any], ending: _Ending, *, started_at: datetime, duration: float, span_id: int
) -> NodeRecord:
    return NodeRecord(
        node=view.node,
        item=view.item,
        status=ending.status,
        output=ending.output.value if ending.output else None,
        text=ending.output.text if ending.output else None,
        error=ending.error,
        started_at=started_at,
        duration=duration,
        span_id=format(span_id, "016x") if span_id else None,
    )
