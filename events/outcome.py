"""How a try of a run ends: a closed set."""

from dataclasses import dataclass
from typing import TypeAlias

from events.status import FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """What is kept of an error: its type's name, its message, the node it came from and the traceback's text."""

    type: str
    message: str
    node: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Every node that was to run is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try again ``delay`` seconds from now, by the database's clock."""

    delay: float
    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Given up; ``kind`` tells why."""

    kind: FailureKind
    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Ended because somebody asked for it."""

    reason: str


Outcome: TypeAlias = Succeeded | Retry | Failed | Cancelled
