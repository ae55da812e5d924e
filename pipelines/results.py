"""What taking one step comes to: a closed set."""

from dataclasses import dataclass
from typing import TypeAlias

from events import Cancelled, Suspended
from pipelines.output import Output


@dataclass(frozen=True, slots=True)
class Broke:
    """It ended in errors: ``errors`` are by node, since branches and inner nodes fail by themselves.

    ``of`` is the node within which several failed.
    """

    errors: tuple[tuple[str, BaseException], ...]
    of: str = ""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A branch whose failure is final, and which ends nothing by it."""

    message: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A node ended the run, well."""

    reason: str


Interruption: TypeAlias = Broke | Stopped | Suspended | Cancelled
"""What ends a try before its end."""

Result: TypeAlias = Output | GivenUp | Interruption
