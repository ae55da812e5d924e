from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

_LONG: Final = 3.0


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

    ``seconds`` is how long it took (ready, stopped, killed) or the pause before the next try (restarting), which is
    number ``tries`` since it last did well; ``detail`` the report of an unexpected end, several lines long.
    """

    service: str
    step: Step
    seconds: float | None = None
    detail: str | None = None
    tries: int = 1

    def __str__(self) -> str:
        """One line, such as ``postgres ready 0.8 s``."""
        match self.step:
            case Step.RESTARTING:
                again = f", try {self.tries}" if self.tries > 1 else ""
                return f"{self.service} starts again {_in(self.seconds or 0.0)}{again}"
            case Step.ENDED:
                return self.detail or f"{self.service} ended"
            case _:
                return f"{self.service} {self.step}" + ("" if self.seconds is None else f" {self.seconds:.1f} s")


def _in(seconds: float) -> str:
    if seconds < _LONG:
        return f"in {seconds:.1f} s"
    return f"in {seconds:.1f} s, at {datetime.now(UTC).astimezone() + timedelta(seconds=seconds):%H:%M:%S}"


Reporter: TypeAlias = Callable[[Progress], None]


def unheard(_progress: Progress) -> None:
    """Tell nobody."""
