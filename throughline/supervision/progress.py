from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Step(StrEnum):
    """What happened to a service."""

    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One thing to tell the user.

    ``seconds`` is how long it took (ready, stopped, killed) or the pause before the next try (restarting); ``detail``
    the report of an unexpected end, several lines long.
    """

    service: str
    step: Step
    seconds: float | None = None
    detail: str | None = None

    def __str__(self) -> str:
        """One line, such as ``postgres ready 0.8 s``."""
        match self.step:
            case Step.RESTARTING:
                return f"{self.service} starts again in {self.seconds or 0:.1f} s"
            case Step.ENDED:
                return self.detail or f"{self.service} ended"
            case _:
                return f"{self.service} {self.step}" + ("" if self.seconds is None else f" {self.seconds:.1f} s")


Reporter: TypeAlias = Callable[[Progress], None]


def unheard(_progress: Progress) -> None:
    """Tell nobody."""
