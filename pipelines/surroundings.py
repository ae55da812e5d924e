import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from pipelines.context import TaskContext
    from pipelines.steps import Step


class StandIn(Protocol):
    """Says what to call in a node's place; None: the node's own code.

    It is called as the node is: with the context, and, for one of many items, with that.
    """

    def __call__(self, step: "Step", context: "TaskContext[Any]", /) -> Callable[..., object] | None:
        """Be asked before a call."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is around a try and is another in a test: the time, the dice, and what is called for a node.

    ``now`` tells the time of day, ``monotonic`` the seconds that deadlines are measured in, ``draw`` gives a number
    from 0 to 1. ``stand_in`` is asked before each call of a node.
    """

    now: Callable[[], datetime] = _now
    monotonic: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    stand_in: StandIn | None = None


REAL: Final = Surroundings()
"""Those of every run that isn't a test's."""
