"""The closed sets that labels are taken from, and how an open set is closed."""

from collections.abc import Container
from enum import StrEnum
from typing import Final

OTHER: Final = "other"

_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})


class EventOutcome(StrEnum):
    """What became of an event at the door."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    UNROUTED = "unrouted"
    AWAITED = "awaited"


class RunOutcome(StrEnum):
    """What became of a run's try; ``failed`` is final only."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    CANCELLED = "cancelled"
    RESCUED = "rescued"
    HANDED_BACK = "handed_back"
    SUSPENDED = "suspended"


class NodeOutcome(StrEnum):
    """How a node ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class QueueState(StrEnum):
    """Where the unfinished runs of a queue stand; ``limited`` ones are due, and wait for permits."""

    DUE = "due"
    LIMITED = "limited"
    LATER = "later"
    SENT = "sent"
    RUNNING = "running"


class PutOff(StrEnum):
    """What a run without a place in a worker waits for: an event, or its time."""

    WAITING = "waiting"
    SLEEPING = "sleeping"


class WaitEnd(StrEnum):
    """What ended a run's wait for an event: that it came, or the time."""

    EVENT = "event"
    TIMEOUT = "timeout"


class AccountState(StrEnum):
    """The sides of the account of runs, and what is left between them."""

    ACCEPTED = "accepted"
    FINAL = "final"
    OPEN = "open"
    REMOVED = "removed"
    DIFFERENCE = "difference"


class Sli(StrEnum):
    """What is promised: an event's intake, a run's wait until it is claimed, and how it ends."""

    INGEST = "ingest"
    QUEUEING = "queueing"
    EXECUTION = "execution"


class SlotState(StrEnum):
    """A worker process's slots: those in use, and all of them."""

    USED = "used"
    TOTAL = "total"


class VersionOutcome(StrEnum):
    """What was done with a run whose version of its pipeline the code lacks, or has with another graph."""

    RESUMED = "resumed"
    RESTARTED = "restarted"
    INCOMPATIBLE = "incompatible"
    DEFERRED = "deferred"


class BlockSource(StrEnum):
    """Where PostgreSQL found a block: in its own buffers, or not."""

    BUFFERS = "buffers"
    DISK = "disk"


class TransactionEnd(StrEnum):
    """How a transaction of PostgreSQL ended."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"


class RowState(StrEnum):
    """A table's rows: those that count, and those that wait for vacuum."""

    LIVE = "live"
    DEAD = "dead"


class DropReason(StrEnum):
    """Why a span never reached the collector."""

    QUEUE_FULL = "queue_full"
    EXPORT_FAILED = "export_failed"
    SHUTDOWN = "shutdown"


def event_type_label(event_type: str, known: Container[str]) -> str:
    """Close the open set of event types: ``known`` holds the types and prefixes (``github.*``) that are routed.

    A known type stands for itself, one that only a prefix covers shares the longest such prefix, and any other shares
    ``other``: a client can't make series.
    """
    if event_type in known:
        return event_type
    head = event_type
    while "." in head:
        head = head.rpartition(".")[0]
        if f"{head}.*" in known:
            return f"{head}.*"
    return OTHER


def method_label(method: str) -> str:
    """Close the open set of HTTP methods, with the conventions' own ``_OTHER``."""
    return method if method in _METHODS else "_OTHER"
