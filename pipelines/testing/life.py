"""The whole life of a run, try after try, with a fake clock in the place of waiting."""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from events import (
    AttemptOutcome,
    AwaitedEvent,
    Cancelled,
    ErrorInfo,
    Event,
    Failed,
    FailureKind,
    LimitKey,
    NodeStatus,
    QueueReason,
    Retry,
    Succeeded,
    Suspended,
    ThroughlineError,
    new_id,
)
from pipelines.arrivals import WaitState
from pipelines.error_info import error_info
from pipelines.execution import execute
from pipelines.journal import MemoryJournal, NodeRecord
from pipelines.pipeline import Pipeline
from pipelines.surroundings import Surroundings
from pipelines.testing.arriving import Arrivals, NotRun
from pipelines.testing.clock import FakeClock

MOST_TRIES: Final = 1000
_ENDS: Final = {
    Succeeded: AttemptOutcome.SUCCEEDED,
    Failed: AttemptOutcome.FAILED,
    Cancelled: AttemptOutcome.CANCELLED,
    Retry: AttemptOutcome.RETRIED,
    Suspended: AttemptOutcome.SUSPENDED,
}
_KEPT: Final = frozenset({NodeStatus.SUCCEEDED, NodeStatus.STOPPED})


def _is_done(record: NodeRecord) -> bool:
    """Say whether a later try takes it up: also of a branch that was given up, which has an output to say so."""
    return record.status in _KEPT or (record.status is NodeStatus.FAILED and record.output is not None)


class EndlessRun(ThroughlineError):  # noqa: N818 - what is the matter, not that it is an error
    """A run was tried a thousand times and has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a run; ``began`` and ``ended`` in seconds from the run's beginning, on the fake clock."""

    number: int
    outcome: AttemptOutcome
    error: ErrorInfo | None
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A time for which a run was put off: it waited for an event, slept, or was limited, which passes at once.

    ``event`` is what ended a wait; None where it did not come in time. ``began`` and ``ended`` as in ``Attempt``.
    """

    node: str
    reason: QueueReason
    awaited: AwaitedEvent | None
    event: Event | None
    limits: tuple[LimitKey, ...]
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What became of a run. ``records`` are the nodes' results in the order they came, those of failed tries too."""

    run_id: UUID
    outcome: Succeeded | Failed | Cancelled
    attempts: tuple[Attempt, ...]
    waits: tuple[Wait, ...]
    records: tuple[NodeRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a run has around it: its surroundings, the clock on which its delays pass, and what comes in."""

    surroundings: Surroundings
    clock: FakeClock
    arrivals: Arrivals


async def live(pipeline: Pipeline[Any], event: Event, around: Around, *, accepted_version: int | None = None) -> Life:
    """Run a pipeline on an event to the run's end: every delay passes on the clock, and nothing is stored.

    ``accepted_version`` is the pipeline's that the event was checked against, where that is an older one.

    Raises:
        EndlessRun: it has none.

    """
    run = _Run(pipeline, event, around, accepted_version=accepted_version)
    for number in itertools.count(1):
        outcome = await run.attempt(number)
        if isinstance(outcome, Succeeded | Failed | Cancelled):
            return run.ended(outcome)
        if number == MOST_TRIES:
            raise EndlessRun
    raise AssertionError("it counts for ever")


@dataclass(slots=True)
class _Told:
    """What the earlier tries have left behind."""

    errors: Counter[str | None] = field(default_factory=Counter)
    waits: dict[str, WaitState] = field(default_factory=dict)
    permits: set[LimitKey] = field(default_factory=set)


class _Run:
    def __init__(self, pipeline: Pipeline[Any], event: Event, around: Around, *, accepted_version: int | None) -> None:
        self._pipeline = pipeline
        self._event = event
        self._accepted_version = accepted_version
        self._surroundings = around.surroundings
        self._clock = around.clock
        self._arrivals = around.arrivals
        self._began = self._clock.elapsed
        self._run_id = new_id()
        self._journal = MemoryJournal()
        self._told = _Told()
        self._attempts: list[Attempt] = []
        self._waits: list[Wait] = []

    @property
    def _age(self) -> float:
        return self._clock.elapsed - self._began

    async def attempt(self, number: int) -> Succeeded | Failed | Cancelled | Retry | Suspended:
        began = self._age
        context = self._pipeline.context(
            self._event,
            run_id=self._run_id,
            attempt=number,
            errors_by_node=self._told.errors,
            done={key: record for key, record in self._journal.done.items() if _is_done(record)},
            waits=self._told.waits,
            permits=self._told.permits,
            age=began,
            accepted_version=self._accepted_version,
            surroundings=self._surroundings,
        )
        outcome = await execute(self._pipeline, context, self._journal)
        ended = self._age
        if isinstance(outcome, Suspended):
            outcome = self._put_off(outcome)
        error = outcome.error if isinstance(outcome, Retry | Failed) else None
        self._attempts.append(
            Attempt(number=number, outcome=_ENDS[type(outcome)], error=error, began=began, ended=ended)
        )
        if isinstance(outcome, Retry):
            self._told.errors.update(outcome.error.nodes or [outcome.error.node])
            self._clock.advance(outcome.delay)
        return outcome

    def _put_off(self, suspended: Suspended) -> Suspended | Failed:
        """Let the time pass until the next try."""
        began, event = self._age, None
        if suspended.reason is QueueReason.LIMITED:
            self._told.permits.update(suspended.limits)
        else:
            until = began + suspended.delay
            try:
                arrival = self._arrivals.find(suspended, until=until) if suspended.awaited else None
            except NotRun as error:
                return Failed(kind=FailureKind.ERROR, error=error_info(error, node=suspended.node))
            ends = until if arrival is None else max(began, arrival.after)
            event = None if arrival is None else arrival.event
            self._clock.advance(ends - began)
            self._told.waits[suspended.node] = WaitState(remaining=until - ends, event=event)
        self._waits.append(
            Wait(
                node=suspended.node,
                reason=suspended.reason,
                awaited=suspended.awaited,
                event=event,
                limits=suspended.limits,
                began=began,
                ended=self._age,
            )
        )
        return suspended

    def ended(self, outcome: Succeeded | Failed | Cancelled) -> Life:
        return Life(
            run_id=self._run_id,
            outcome=outcome,
            attempts=tuple(self._attempts),
            waits=tuple(self._waits),
            records=tuple(self._journal.records),
        )
