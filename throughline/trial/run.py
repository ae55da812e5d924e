import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from events import (
    AttemptOutcome,
    AwaitedEvent,
    Cancelled,
    Event,
    Failed,
    LimitKey,
    Outcome,
    QueueReason,
    Retry,
    Succeeded,
    Suspended,
    new_id,
)
from pipelines import Pipeline, TaskContext, execute
from pipelines.arrivals import WaitState
from pipelines.journal import NodeRecord
from pipelines.paths import Attributes, value_at
from pipelines.steps import Step
from pipelines.surroundings import Surroundings
from throughline.trial.answers import Answers

MOST_TRIES: Final = 1000
ENDS: Final[Mapping[type[Any], AttemptOutcome]] = {
    Succeeded: AttemptOutcome.SUCCEEDED,
    Failed: AttemptOutcome.FAILED,
    Cancelled: AttemptOutcome.CANCELLED,
    Retry: AttemptOutcome.RETRIED,
    Suspended: AttemptOutcome.SUSPENDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try: its number, its times, how it ended, and what its nodes came to."""

    number: int
    began: datetime
    ended: datetime
    outcome: Outcome
    records: tuple[NodeRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A wait that the run came to; ``event`` is what ended it, ``lasts`` says that nothing has."""

    suspended: Suspended
    began: datetime
    event: Event | None
    lasts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of the event. ``stood_in`` says of the nodes that were answered for why, by their names,
    and ``taken_over`` holds what stands for those of them that no single call makes.
    """

    pipeline: Pipeline[Any]
    event: Event
    run_id: UUID
    attempts: tuple[Attempt, ...]
    waits: tuple[Wait, ...]
    stood_in: Mapping[str, str]
    taken_over: tuple[NodeRecord, ...]

    @property
    def outcome(self) -> Outcome:
        """How the last try ended."""
        return self.attempts[-1].outcome

    @property
    def waits_for(self) -> AwaitedEvent | None:
        """What the run waits for at its end, where nobody gave it the event."""
        return self.waits[-1].suspended.awaited if self.waits and self.waits[-1].lasts else None


async def try_out(
    pipeline: Pipeline[Any], event: Event, *, answers: Answers, arriving: Iterable[Event] = (), expire: bool = False
) -> Tried:
    """Run a pipeline on an event, try after try, until it ends or waits for an event that nobody gave.

    Nothing is waited for: a retry follows at once, a sleep is over when it begins. ``arriving`` are the events that
    waits may end with; with ``expire`` a wait for any other ends as if its time were over. Limits let everything pass.
    """
    trial = _Trial(pipeline, event, answers=answers, arriving=tuple(arriving), expire=expire)
    for number in itertools.count(1):
        if not await trial.attempt(number) or number == MOST_TRIES:
            break
    return trial.tried()


@dataclass(slots=True)
class _Journal:
    """Keeps what the nodes of one try came to."""

    records: list[NodeRecord] = field(default_factory=list)

    def begin(self) -> None:
        """See ``Journal.begin``."""

    async def record(self, result: NodeRecord, *, durable: bool) -> None:  # noqa: ARG002 - nothing is lost here
        """See ``Journal.record``."""
        self.records.append(result)


class _Trial:
    def __init__(
        self, pipeline: Pipeline[Any], event: Event, *, answers: Answers, arriving: tuple[Event, ...], expire: bool
    ) -> None:
        self._pipeline, self._event = pipeline, event
        self._answers, self._arriving, self._expire = answers, arriving, expire
        self._run_id = new_id()
        self._began = datetime.now(UTC)
        self._attempts: list[Attempt] = []
        self._errors: Counter[str | None] = Counter()
        self._waits: dict[str, WaitState] = {}
        self._permits: set[LimitKey] = set()
        self._done = dict(answers.taken_over)
        self._told: list[Wait] = []

    async def attempt(self, number: int) -> bool:
        """Try once; return whether another try is to follow."""
        journal, began = _Journal(), datetime.now(UTC)
        context = self._pipeline.context(
            self._event,
            run_id=self._run_id,
            attempt=number,
            errors_by_node=self._errors,
            done=self._done,
            waits=self._waits,
            permits=self._permits,
            age=(began - self._began).total_seconds(),
            surroundings=Surroundings(stand_in=self._stand_in),
        )
        outcome = await execute(self._pipeline, context, journal)
        self._done |= {(one.node, one.item): one for one in journal.records}
        records = tuple(journal.records)
        ended = datetime.now(UTC)
        self._attempts.append(Attempt(number=number, began=began, ended=ended, outcome=outcome, records=records))
        return self._goes_on(outcome)

    def _stand_in(self, step: Step, context: TaskContext[Any]) -> Callable[..., object] | None:
        return self._answers.stand_in(step, context)

    def _goes_on(self, outcome: Outcome) -> bool:
        if isinstance(outcome, Retry):
            self._errors.update(outcome.error.nodes or [outcome.error.node])
            return True
        if not isinstance(outcome, Suspended):
            return False
        self._permits.update(outcome.limits)
        if outcome.reason is QueueReason.LIMITED:
            return True
        event = next((one for one in self._arriving if outcome.awaited and matches(outcome.awaited, one)), None)
        lasts = outcome.awaited is not None and event is None and not self._expire
        self._told.append(Wait(suspended=outcome, began=self._attempts[-1].ended, event=event, lasts=lasts))
        self._waits[outcome.node] = WaitState(remaining=outcome.delay if event else 0.0, event=event)
        return not lasts

    def tried(self) -> Tried:
        return Tried(
            pipeline=self._pipeline,
            event=self._event,
            run_id=self._run_id,
            attempts=tuple(self._attempts),
            waits=tuple(self._told),
            stood_in=self._answers.used,
            taken_over=tuple(self._answers.taken_over.values()),
        )


def matches(awaited: AwaitedEvent, event: Event) -> bool:
    """Say whether an event is what a run waits for."""
    attributes = Attributes(type=event.type, source=event.source, subject=event.subject, data=event.data)
    return awaited.type == event.type and value_at(awaited.path, attributes) == awaited.key
