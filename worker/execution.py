import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.trace import Link, Span, SpanContext, get_current_span

from events import (
    AttemptOutcome,
    Cancelled,
    ErrorInfo,
    Failed,
    FailureKind,
    Outcome,
    QueueReason,
    Retry,
    RunStatus,
    Suspended,
)
from observability import attributes as key
from observability.logs import bind, get_logger, hears_debug, tell
from observability.metrics import Metrics, RunOutcome
from observability.tracing import LinkReason, RunIds, context_of, links_to, run_span, set_outcome, span_context_of
from pipelines import Pipeline, PipelineRegistry, execute
from storage.outcomes import Finish, Moved, NodeWrite
from worker.held import Claimed
from worker.journal import RunJournal
from worker.message import Message
from worker.objectives import Objectives
from worker.outcomes import UNKNOWN_PIPELINE_DELAY, error_of, finish_of, given_back
from worker.versions import Settled, Versions
from worker.writes import StaleAttempt, ValueRefused, Writes

_log = get_logger(__name__)
_hears_debug = hears_debug(__name__)


class Execution:
    """Carries claimed runs to the end of their attempt: executed, finished, counted, told.

    What is counted for the targets of the registry's pipelines is shown as 0 from the start. Runs of their older
    versions are executed as what they are, and held to the newest one's targets.
    """

    def __init__(self, writes: Writes, metrics: Metrics, *, registry: PipelineRegistry | None = None) -> None:
        known = registry or PipelineRegistry(())
        self._writes = writes
        self._metrics = metrics
        self._versions = Versions(known, writes, metrics)
        self._objectives = Objectives(metrics, pipelines=known.pipelines)

    async def run(
        self, claimed: Claimed, journal: RunJournal, *, pipeline: Pipeline[Any], message: Message
    ) -> AttemptOutcome | None:
        """Execute one attempt and finish it; return how it ended, None where another attempt has the run.

        ``pipeline`` is the newest version that is known.
        A cancel of the task passes: whoever cancels gives the run back. A cancel that somebody asked for is the run's
        end. When the run has passed to another attempt, this one ends quietly.
        """
        run, began = claimed.run, time.monotonic()
        self._metrics.run_queue_wait.labels(pipeline=run.pipeline).observe(run.queue_wait)
        self._objectives.claimed(pipeline, waited=run.queue_wait)
        with _span(claimed, message) as span, _bound(claimed):
            if _hears_debug():
                _log.debug("run begins", queue=message.queue, waited=round(run.queue_wait, 6), task_id=message.task_id)
            try:
                settled = await self._versions.settle(claimed, pipeline)
                if settled.deferred:
                    await self._writes.finish(_deferred(claimed))
                    return AttemptOutcome.HANDED_BACK
                outcome, nodes = await self._execute(settled, journal)
                left = _left(settled.pipeline, run.age + time.monotonic() - began)
                outcome = _in_time(outcome, left)
                finish = finish_of(run, outcome, nodes, expires_in=left)
                moved = await self._writes.finish(finish)
            except StaleAttempt:
                self._metrics.stale_writes.labels().inc()
                set_outcome(span, "stale")
                _log.warning("run ended", outcome="stale", duration=_since(began))
                return None
            except asyncio.CancelledError:
                _log.info("run ended", outcome="given_back", duration=_since(began))
                raise
            else:
                stood = _stood(outcome, moved)
                if stood is not outcome:
                    finish = finish_of(run, stood)
                self._tell(finish, error_of(stood), span, pipeline=pipeline, began=began, age=moved.age)
                return finish.outcome

    async def _execute(self, settled: Settled, journal: RunJournal) -> tuple[Outcome, tuple[NodeWrite, ...]]:
        if settled.failed is not None:
            return settled.failed, ()
        claimed, pipeline = settled.claimed, settled.pipeline
        run = claimed.run
        context = pipeline.context(
            run.event,
            run_id=run.run_id,
            attempt=run.attempt,
            errors_by_node=claimed.errors_by_node,
            done=claimed.done,
            waits=claimed.waits,
            permits=run.limits,
            age=run.age,
            accepted_version=run.accepted_version or run.pipeline_version,
        )
        try:
            with claimed.cancellation.heard_by(context):
                outcome = await execute(pipeline, context, journal, metrics=self._metrics)
        except asyncio.CancelledError:
            if not claimed.cancellation.answered():
                raise
            outcome = Cancelled(reason=claimed.cancellation.reason or "")
        except ValueRefused as error:
            return Failed(kind=FailureKind.INVALID_OUTPUT, error=_info(error)), ()
        except StaleAttempt:
            raise
        except Exception as error:  # noqa: BLE001 - a run is ended or tried again, never left lying
            _log.exception("the execution itself broke")
            return pipeline.decide(error, context), ()
        return outcome, journal.pending

    def _tell(
        self, finish: Finish, error: ErrorInfo | None, span: Span, *, pipeline: Pipeline[Any], began: float, age: float
    ) -> None:
        ended, duration = RunOutcome(finish.outcome.value), _since(began)
        self._metrics.runs.labels(pipeline=pipeline.name, outcome=ended).inc()
        self._metrics.run_duration.labels(pipeline=pipeline.name, outcome=ended).observe(duration)
        self._objectives.ended(pipeline, finish.status, took=duration)
        if finish.status is not RunStatus.QUEUED:
            self._metrics.run_end_to_end.labels(pipeline=pipeline.name, outcome=ended).observe(age)
        set_outcome(span, finish.outcome, error)
        told: dict[str, object] = {"outcome": finish.outcome.value, "duration": duration}
        if finish.kind is not None:
            told["failure_kind"] = finish.kind.value
        if finish.outcome is AttemptOutcome.SUSPENDED:
            told |= _put_off(finish)
        elif finish.delay:
            told["retry_in"] = finish.delay
        if error:
            told["error_type"] = error.type
        if error and error.node is not None:
            told["node"] = error.node
        tell(__name__, "run ended", told)


@contextmanager
def _span(claimed: Claimed, message: Message) -> Iterator[Span]:
    run = claimed.run
    ids = RunIds(
        run_id=claimed.run_id,
        event_id=claimed.event_id,
        event_type=run.event.type,
        pipeline=run.pipeline,
        attempt=run.attempt,
        queue=message.queue,
    )
    of_message = get_current_span(message.context)
    came, origin = of_message.get_span_context(), span_context_of(run.traceparent or run.event.traceparent)
    # A run stays in its event's trace. The message's span is the parent where it is in that trace, too, which the
    # publisher makes so when the message holds one run.
    apart = origin is not None and origin.trace_id != came.trace_id
    links = [Link(came, {key.LINK: LinkReason.MESSAGE.value})] if apart and came.is_valid else []
    if origin is not None and claimed.previous_span_id:
        links.extend(links_to([_previous(origin, claimed.previous_span_id)], reason=LinkReason.RETRY_OF))
    links.extend(links_to(_come(claimed), reason=LinkReason.AWAITED))
    context = context_of(origin) if apart and origin is not None else message.context
    with run_span(ids, context=context, links=links, span_id=claimed.span_id) as span:
        if apart:
            of_message.add_link(span.get_span_context(), {key.LINK: LinkReason.RUN.value})
        yield span


def _previous(origin: SpanContext, span_id: str) -> str:
    return f"00-{origin.trace_id:032x}-{span_id}-{origin.trace_flags:02x}"


def _come(claimed: Claimed) -> list[str]:
    """Return the traceparents of events that ended waits whose nodes no try has passed yet."""
    events = [wait.event for node, wait in claimed.waits.items() if (node, 0) not in claimed.done]
    return [event.traceparent for event in events if event is not None and event.traceparent]


def _deferred(claimed: Claimed) -> Finish:
    return given_back(claimed.run, QueueReason.UNKNOWN_PIPELINE, delay=UNKNOWN_PIPELINE_DELAY)


def _left(pipeline: Pipeline[Any], age: float) -> float:
    """Return how many seconds a run of that age may still take in all."""
    return math.inf if pipeline.lifetime is None else pipeline.lifetime - age


def _in_time(outcome: Outcome, left: float) -> Outcome:
    """Return the end of a run that would wait on though its lifetime is over, and any other outcome as it is."""
    if not isinstance(outcome, Suspended) or left > 0:
        return outcome
    error = ErrorInfo(type="NodeTimeoutError", message="the run's lifetime was over while it waited", node=outcome.node)
    return Failed(kind=FailureKind.TIMEOUT, error=error)


def _put_off(finish: Finish) -> dict[str, object]:
    told: dict[str, object] = {"reason": finish.reason.value if finish.reason else ""}
    if finish.wait is not None:
        told |= {"node": finish.wait.node, "resumes_in": finish.delay}
    return told


def _stood(outcome: Outcome, moved: Moved) -> Outcome:
    """Return what a run came to as it was written, which PostgreSQL decides."""
    if isinstance(outcome, Retry | Suspended) and moved.status is RunStatus.CANCELLED:
        return Cancelled(reason="")
    if moved.status is RunStatus.FAILED and not isinstance(outcome, Failed):
        return Failed(kind=FailureKind.INVALID_OUTPUT, error=_info(ValueRefused()))
    return outcome


def _info(error: Exception) -> ErrorInfo:
    return ErrorInfo(type=type(error).__qualname__, message=str(error))


def _bound(claimed: Claimed) -> Any:
    run = claimed.run
    return bind(
        tenant=run.event.tenant,
        event_id=claimed.event_id,
        run_id=claimed.run_id,
        pipeline=run.pipeline,
        attempt=run.attempt,
    )


def _since(began: float) -> float:
    return round(time.monotonic() - began, 6)
