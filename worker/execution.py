import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, get_current_span

from events import Cancelled, ErrorInfo, Failed, FailureKind, Outcome, QueueReason, Retry, RunStatus
from observability.logs import bind, get_logger
from observability.metrics import Metrics, RunOutcome
from observability.tracing import (
    LinkReason,
    RunIds,
    add_link,
    context_from,
    link_to,
    run_span,
    set_outcome,
    trace_id_of,
    traceparent_of,
)
from pipelines import Pipeline, execute
from storage.outcomes import Moved, NodeWrite
from worker.held import Claimed
from worker.journal import RunJournal
from worker.message import Message
from worker.outcomes import UNKNOWN_PIPELINE_DELAY, error_of, finish_of, given_back
from worker.writes import StaleAttempt, ValueRefused, Writes

_log = get_logger(__name__)


class Execution:
    """Carries claimed runs to the end of their attempt: executed, finished, counted, told."""

    def __init__(self, writes: Writes, metrics: Metrics) -> None:
        self._writes = writes
        self._metrics = metrics

    async def run(self, claimed: Claimed, journal: RunJournal, *, pipeline: Pipeline[Any], message: Message) -> None:
        """Execute one attempt and finish it.

        A cancel of the task passes: whoever cancels gives the run back. A cancel that somebody asked for is the run's
        end. When the run has passed to another attempt, this one ends quietly.
        """
        run, began = claimed.run, time.monotonic()
        self._metrics.run_queue_wait.labels(pipeline=run.pipeline).observe(run.queue_wait)
        with self._span(claimed, message) as span, _bound(claimed):
            try:
                if run.pipeline_version > pipeline.version:
                    await self._defer(claimed, pipeline)
                    return
                outcome, nodes = await self._execute(claimed, pipeline, journal)
                moved = await self._writes.finish(finish_of(run, outcome, nodes))
            except StaleAttempt:
                self._metrics.stale_writes.labels().inc()
                set_outcome(span, "stale")
                _log.warning("run ended", outcome="stale", duration=_since(began))
            except asyncio.CancelledError:
                _log.info("run ended", outcome="given_back", duration=_since(began))
                raise
            else:
                self._tell(claimed, _stood(outcome, moved), span, began=began, age=moved.age)

    async def _execute(
        self, claimed: Claimed, pipeline: Pipeline[Any], journal: RunJournal
    ) -> tuple[Outcome, tuple[NodeWrite, ...]]:
        run = claimed.run
        context = pipeline.context(
            run.event,
            run_id=run.run_id,
            attempt=run.attempt,
            errors_by_node=claimed.errors_by_node,
            done=claimed.done,
            age=run.age,
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

    async def _defer(self, claimed: Claimed, pipeline: Pipeline[Any]) -> None:
        run = claimed.run
        _log.warning("run is of a newer version of its pipeline", version=run.pipeline_version, known=pipeline.version)
        await self._writes.finish(given_back(run, QueueReason.UNKNOWN_PIPELINE, delay=UNKNOWN_PIPELINE_DELAY))

    def _tell(self, claimed: Claimed, outcome: Outcome, span: Span, *, began: float, age: float) -> None:
        finish, error = finish_of(claimed.run, outcome), error_of(outcome)
        pipeline, ended = claimed.run.pipeline, RunOutcome(finish.outcome.value)
        duration = _since(began)
        self._metrics.runs.labels(pipeline=pipeline, outcome=ended).inc()
        self._metrics.run_duration.labels(pipeline=pipeline, outcome=ended).observe(duration)
        if finish.status is not RunStatus.QUEUED:
            self._metrics.run_end_to_end.labels(pipeline=pipeline, outcome=ended).observe(age)
        set_outcome(span, finish.outcome, error)
        told: dict[str, object] = {"failure_kind": finish.kind, "retry_in": finish.delay or None}
        told |= {"error_type": error.type, "node": error.node} if error else {}
        _log.info(
            "run ended", outcome=finish.outcome, duration=duration, **{k: v for k, v in told.items() if v is not None}
        )

    @contextmanager
    def _span(self, claimed: Claimed, message: Message) -> Iterator[Span]:
        run = claimed.run
        ids = RunIds(
            run_id=run.run_id,
            event_id=run.event.event_id,
            event_type=run.event.type,
            pipeline=run.pipeline,
            attempt=run.attempt,
            queue=message.queue,
        )
        of_message = get_current_span(message.context)
        context, apart = _parent(claimed, message.context)
        links = [link_to(traceparent_of(of_message), reason=LinkReason.MESSAGE)] if apart else []
        links.append(link_to(_previous(claimed), reason=LinkReason.RETRY_OF))
        with run_span(ids, context=context, links=[x for x in links if x], span_id=claimed.span_id) as span:
            if apart:
                add_link(of_message, traceparent_of(span), reason=LinkReason.RUN)
            yield span


def _parent(claimed: Claimed, of_message: Context) -> tuple[Context, bool]:
    """Return the context of a run's span, and whether that is apart from the message's trace.

    A run stays in its event's trace. The message's span is the parent where it is in that trace, too, which the
    publisher makes so when the message holds one run.
    """
    own = claimed.run.traceparent or claimed.run.event.traceparent
    if trace_id_of(own) in {None, trace_id_of(traceparent_of(get_current_span(of_message)))}:
        return of_message, False
    return context_from(own), True


def _previous(claimed: Claimed) -> str | None:
    own = claimed.run.traceparent or claimed.run.event.traceparent
    trace_id = trace_id_of(own)
    if not (trace_id and claimed.previous_span_id and own):
        return None
    return f"00-{trace_id}-{claimed.previous_span_id}-{own[-2:]}"


def _stood(outcome: Outcome, moved: Moved) -> Outcome:
    """Return what a run came to as it was written, which PostgreSQL decides."""
    if isinstance(outcome, Retry) and moved.status is RunStatus.CANCELLED:
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
        event_id=str(run.event.event_id),
        run_id=str(run.run_id),
        pipeline=run.pipeline,
        attempt=run.attempt,
    )


def _since(began: float) -> float:
    return round(time.monotonic() - began, 6)
