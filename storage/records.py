"""What storage hands out: frozen, plain, free of SQLAlchemy. Durations are in seconds, times carry a time zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from events import (
    AttemptOutcome,
    Event,
    EventStatus,
    FailureKind,
    JsonValue,
    LimitKey,
    NodeStatus,
    QueueReason,
    RunStatus,
    event_status,
)
from storage.permits import ShownLimit
from storage.policies import RunPolicy


class NewRun(NamedTuple):
    """A run to be made with its event; ``policy`` is None where its pipeline declares none."""

    run_id: UUID
    pipeline: str
    pipeline_version: int
    queue: str
    policy: RunPolicy | None = None


class NewKey(NamedTuple):
    """A value by which waits find an event: the one at ``path``."""

    path: str
    key: str


class NewEvent(NamedTuple):
    """An event to be stored with its runs. ``data`` is JSON text; ``content_hash`` is of what was sent.

    ``awaited``: runs of some pipeline may wait for its type; they find it by its ``keys``.
    """

    tenant: str
    event_id: UUID
    source: str
    ce_id: str
    type: str
    subject: str | None
    time: datetime | None
    data: str
    content_hash: bytes
    traceparent: str | None
    runs: tuple[NewRun, ...]
    awaited: bool = False
    keys: tuple[NewKey, ...] = ()


class RunSummary(NamedTuple):
    """A run in a few words."""

    run_id: UUID
    pipeline: str
    status: RunStatus
    replay_of: UUID | None = None


class StoredEvent(NamedTuple):
    """The row that stands for ``(tenant, source, ce_id)`` now; ``created`` when this call made it.

    ``awaited``: it was taken in though no pipeline takes its type, since runs may wait for it.
    """

    created: bool
    event_id: UUID
    content_hash: bytes
    received_at: datetime
    traceparent: str | None
    runs: tuple[RunSummary, ...]
    awaited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRun:
    """A run that a relay has taken for publishing."""

    tenant: str
    run_id: UUID
    pipeline: str
    queue: str
    traceparent: str | None
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """A run that this worker holds, with its event; ``queue_wait`` is the time since due, ``age`` since made.

    ``accepted_version``: the one that the event was checked against, where that isn't the run's own. ``limits`` are
    those that it was admitted by.
    """

    run_id: UUID
    event: Event
    pipeline: str
    pipeline_version: int
    attempt: int
    errors: int
    deaths: int
    traceparent: str | None
    queue_wait: float
    age: float = 0.0
    accepted_version: int | None = None
    replay_of: UUID | None = None
    replay_from: str | None = None
    limits: tuple[LimitKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResult:
    """What one node (and item) of one run gave back."""

    node: str
    item: int
    attempt: int
    status: NodeStatus
    output: JsonValue
    error: dict[str, JsonValue] | None
    started_at: datetime
    duration_seconds: float
    span_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One try of a run; ``outcome`` and ``finished_at`` are empty while it runs."""

    attempt: int
    worker: str
    task_id: str | None
    span_id: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: AttemptOutcome | None
    error: dict[str, JsonValue] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitRecord:
    """A wait of a run: for an event of ``type`` whose value at ``path`` is ``key``, or without these for ``until``.

    ``ended_at``: when it was found that the event ``event_id`` had come or, without one, that the time was over.
    """

    node: str
    type: str | None
    path: str | None
    key: str | None
    began_at: datetime
    until: datetime
    ended_at: datetime | None
    event_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run with its attempts, node results and waits, each in the order they began.

    Results of attempt 0 were taken over from the run that this one repeats. ``waits_for`` are the limits, as they stand
    now, that a queued run waits for.
    """

    run_id: UUID
    pipeline: str
    pipeline_version: int
    queue: str
    status: RunStatus
    reason: QueueReason | None
    available_at: datetime
    attempt: int
    errors: int
    deaths: int
    failure_kind: FailureKind | None
    error: dict[str, JsonValue] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: tuple[AttemptRecord, ...]
    nodes: tuple[NodeResult, ...]
    traceparent: str | None = None
    cancel_requested_at: datetime | None = None
    cancel_reason: str | None = None
    replay_of: UUID | None = None
    replay_from: str | None = None
    priority: int = 0
    expires_at: datetime | None = None
    unique_key: str | None = None
    limits: tuple[LimitKey, ...] = ()
    admitted_at: datetime | None = None
    waits_for: tuple[ShownLimit, ...] = ()
    waits: tuple[WaitRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedWait:
    """A wait of another event's run that an event has ended."""

    run_id: UUID
    node: str
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """An event and all that is known of it; ``ended_waits`` are the first ones that it ended."""

    event: Event
    status: EventStatus
    runs: tuple[RunRecord, ...]
    ended_waits: tuple[EndedWait, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """An event in a list."""

    event_id: UUID
    source: str
    ce_id: str
    type: str
    subject: str | None
    received_at: datetime
    traceparent: str | None
    status: EventStatus
    runs: tuple[RunSummary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue as PostgreSQL tells it: due and later runs, those thought to be in Redis, the oldest due one's age.

    ``limited`` runs would be due, and wait for permits. Of the later ones some are ``waiting`` for an event, and some
    ``sleeping``.
    """

    queue: str
    due: int
    delayed: int
    published: int
    running: int
    oldest_age: float
    limited: int = 0
    waiting: int = 0
    sleeping: int = 0


_OF_ONE: Final = {status: event_status([status]) for status in RunStatus}


def status_of(runs: Sequence[RunSummary | RunRecord], *, awaited: bool = False) -> EventStatus:
    """Tell the state of an event from all of its runs. In the place of a run that was replayed stands its replay.

    ``awaited``: it was taken in without a run, since runs may wait for it.
    """
    if len(runs) == 1:
        return _OF_ONE[runs[0].status]
    replayed = {run.replay_of for run in runs}
    return event_status((run.status for run in runs if run.run_id not in replayed), awaited=awaited)
