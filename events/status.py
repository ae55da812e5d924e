from collections.abc import Iterable
from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands. Waiting and sleeping are ``queued`` with a reason; poisoned and expired are ``failed``."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_STATUSES = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})

_MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.RUNNING: frozenset({RunStatus.QUEUED, *FINAL_STATUSES}),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


def may_move(current: RunStatus, new: RunStatus) -> bool:
    """Say whether a run may go from ``current`` to ``new``."""
    return new in _MOVES[current]


class QueueReason(StrEnum):
    """Why a run is queued."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    RESCUED = "rescued"
    HANDED_BACK = "handed_back"
    UNKNOWN_PIPELINE = "unknown_pipeline"
    REPLAYED = "replayed"
    ISOLATED = "isolated"
    WAITING = "waiting"
    SLEEPING = "sleeping"
    LIMITED = "limited"


class FailureKind(StrEnum):
    """Why a run failed for good."""

    ERROR = "error"
    TIMEOUT = "timeout"
    INVALID_OUTPUT = "invalid_output"
    INVALID_EVENT = "invalid_event"
    POISONED = "poisoned"
    EXPIRED = "expired"
    INCOMPATIBLE = "incompatible"


class AttemptOutcome(StrEnum):
    """How one try of a run ended; a try that still runs has none."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    FAILED = "failed"
    CANCELLED = "cancelled"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    SUSPENDED = "suspended"


class NodeStatus(StrEnum):
    """How a node of a run ended; ``stopped``: well, and by its word the run ended there."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    STOPPED = "stopped"


class EventStatus(StrEnum):
    """The state of an event, told by its runs."""

    UNROUTED = "unrouted"
    AWAITED = "awaited"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def event_status(runs: Iterable[RunStatus], *, awaited: bool = False) -> EventStatus:
    """Tell the state of an event from its runs' states; ``awaited``: no pipeline takes its type, but runs wait for it.

    ``unrouted`` or ``awaited`` without a run; ``queued`` while none has begun; ``running`` until all have ended; then
    the worst of ``failed``, ``cancelled``, ``succeeded``.
    """
    present = set(runs)
    if not present:
        return EventStatus.AWAITED if awaited else EventStatus.UNROUTED
    if present == {RunStatus.QUEUED}:
        return EventStatus.QUEUED
    if present & {RunStatus.QUEUED, RunStatus.RUNNING}:
        return EventStatus.RUNNING
    for worst in (RunStatus.FAILED, RunStatus.CANCELLED):
        if worst in present:
            return EventStatus(worst.value)
    return EventStatus.SUCCEEDED
