"""The vocabulary every package shares: events, statuses, outcomes, errors. No I/O."""

from events.errors import ConfigurationError, Permanent, RetryAfter, ThroughlineError, Transient
from events.event import DEFAULT_SOURCE, DEFAULT_TENANT, Event, JsonValue
from events.ids import least_id, new_id
from events.outcome import Cancelled, ErrorInfo, Failed, Outcome, Retry, Succeeded
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
    "Cancelled",
    "ConfigurationError",
    "ErrorInfo",
    "Event",
    "EventStatus",
    "Failed",
    "FailureKind",
    "JsonValue",
    "NodeStatus",
    "Outcome",
    "Permanent",
    "QueueReason",
    "Retry",
    "RetryAfter",
    "RunStatus",
    "Succeeded",
    "ThroughlineError",
    "Transient",
    "event_status",
    "least_id",
    "may_move",
    "new_id",
]
