import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from throughline.chaos.load import Load
from throughline.chaos.stack import ChaosStack


class DidNothing(Exception):  # noqa: N818 - what happened, not what went wrong with the platform
    """A fault did not do what it says, so nothing was proved; the message says what was missing."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a fault works with, and what it leaves behind for whoever measures the recovery.

    ``victims``: leases on which no run may hang any more. ``missing``: what else has not recovered, by name.
    """

    stack: ChaosStack
    load: Load
    random: random.Random
    hold: float
    redis_away: bool = False
    victims: list[str] = field(default_factory=list)
    missing: Callable[[], list[str]] | None = None
    began_at: float = field(default_factory=time.time)
    healed_at: float = 0.0

    def keep(self) -> None:
        """Let the fault last; what is sent meanwhile counts as sent without Redis, if that is what it takes away."""
        self.load.away = self.redis_away
        try:
            self.stack.wait(self.hold)
        finally:
            self.load.away = False

    def healed(self) -> None:
        """Say that recovery is counted from now."""
        self.healed_at = time.time()

    def prove(self, done: object, otherwise: str) -> None:
        """Raise ``DidNothing`` unless the fault did what it says."""
        if not done:
            raise DidNothing(otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the fault matrix.

    ``hold`` and ``quick``: the seconds it lasts, in the default and in the quick form. ``limit``: the seconds that
    recovery may take. ``times``: how often in a row. ``drains``: what was due before must have been taken up within
    it, too; elsewhere messages that were lost on the way may wait for the relay's ``republish_after``. ``once``: never
    drawn a second time. ``only_full``: not in the quick form. ``needs_mount``: only where PostgreSQL's data is on a
    small mount.

    ``redis_away``: events must be answered meanwhile as fast as ever. ``postgres_away``: 503 is an answer.
    ``api_stops``: a refused connection is one, and ``api_dies``: so is a broken one.
    """

    name: str
    inject: Callable[[Scene], None]
    hold: float = 0.0
    quick: float = 0.0
    limit: float = 60.0
    times: int = 1
    drains: bool = False
    once: bool = False
    only_full: bool = False
    needs_mount: bool = False
    redis_away: bool = False
    postgres_away: bool = False
    api_stops: bool = False
    api_dies: bool = False
