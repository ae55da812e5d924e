"""How a try of a run ends: a closed set."""

from dataclasses import dataclass
from typing import TypeAlias

from events.status import FailureKind, QueueReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """What is kept of an error: its type's name, its message, the node it came from and the traceback's text.

    ``nodes`` are all that it came from, where several failed in one try.
    """

    type: str
    message: str
    node: str | None = None
    nodes: tuple[str, ...] = ()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedEvent:
    """What a run waits for: an event of ``type`` whose value at ``path`` is ``key``.

    ``path`` is ``subject``, ``source`` or a way into the data, such as ``data.ticket.id``.
    """

    type: str
    path: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKey:
    """A limit that a run counts against: ``name`` and ``key`` tell which, and the numbers what it allows.

    ``concurrency`` runs of that key at once, ``rate`` starts of runs in any ``per`` seconds; None allows any number.
    """

    name: str
    key: str
    concurrency: int | None = None
    rate: int | None = None
    per: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """Put off at ``node`` without an error, for ``delay`` seconds at most, by the database's clock.

    ``waiting``: until the ``awaited`` event comes. ``sleeping``: until the time is over. ``limited``: until ``limits``,
    those of the node with those the run had, admit it; its delay is 0.
    """

    node: str
    reason: QueueReason
    delay: float = 0.0
    awaited: AwaitedEvent | None = None
    limits: tuple[LimitKey, ...] = ()


Outcome: TypeAlias = Succeeded | Retry | Failed | Cancelled | Suspended
