"""The vocabulary every package shares: events, statuses, outcomes, errors. No I/O."""

from events.errors import ConfigurationError, Permanent, RetryAfter, ThroughlineError, Transient
from events.event import DEFAULT_SOURCE, DEFAULT_TENANT, Event, JsonValue
from events.ids import least_id, new_id
from events.outcome import (
    AwaitedEvent,
    Cancelled,
    ErrorInfo,
    Failed,
    LimitKey,
    Outcome,
    Retry,
    Succeeded,
    Suspended,
)
from events.status import (
    FINAL_STATUSES,
    AttemptOutcome,
    EventStatus,
    FailureKind,
    NodeStatus,
    QueueReason,
    RunStatus,
    event_status,
    may_move,
)

__all__ = [
    "DEFAULT_SOURCE",
    "DEFAULT_TENANT",
    "FINAL_STATUSES",
    "AttemptOutcome",
    "AwaitedEvent",
    "Cancelled",
    "ConfigurationError",
    "ErrorInfo",
    "Event",
    "EventStatus",
    "Failed",
    "FailureKind",
    "JsonValue",
    "LimitKey",
    "NodeStatus",
    "Outcome",
    "Permanent",
    "QueueReason",
    "Retry",
    "RetryAfter",
    "RunStatus",
    "Succeeded",
    "Suspended",
    "ThroughlineError",
    "Transient",
    "event_status",
    "least_id",
    "may_move",
    "new_id",
]
