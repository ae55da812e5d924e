import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from throughline.chaos.load import Load
from throughline.chaos.stack import ChaosStack


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a fault works with, and what it leaves behind for whoever measures the recovery."""

    stack: ChaosStack
    load: Load
    random: random.Random
    hold: float
    victims: list[str] = field(default_factory=list)
    healed_at: float = 0.0

    def keep(self) -> None:
        """Let the fault last."""
        self.stack.wait(self.hold)

    def healed(self) -> None:
        """Say that recovery is counted from now."""
        self.healed_at = time.time()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the fault matrix.

    ``hold`` and ``quick``: the seconds it lasts, in the default and in the quick form. ``limit``: the seconds that
    recovery may take. ``drains``: what was due before must have been taken up within it, too; elsewhere messages that
    were lost on the way may wait for the relay's ``republish_after``. ``redis_away``: events must be answered meanwhile
    as fast as ever. ``needs_mount``: only where PostgreSQL's data is on a small mount.
    """

    name: str
    inject: Callable[[Scene], None]
    hold: float = 0.0
    quick: float = 0.0
    limit: float = 60.0
    drains: bool = False
    redis_away: bool = False
    needs_mount: bool = False
