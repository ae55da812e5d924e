import time
from collections.abc import Sequence
from dataclasses import dataclass

from throughline.chaos.ledger import NORMAL
from throughline.chaos.looks import CAUGHT_UP, what_is_missing
from throughline.chaos.scene import DidNothing, Fault, Scene

_LOOK_EVERY = 0.2
_PATIENCE = 120.0
BEFORE_AND_AFTER = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One fault as it went: when it began and healed (epoch seconds), and the seconds until all worked again.

    ``recovery`` is None when it didn't within two minutes and its limit; ``missing`` then says what not. ``last`` is
    what came last where it was waited for. ``idle`` says what of the fault did not happen.
    """

    fault: Fault
    began: float
    healed: float
    recovery: float | None
    missing: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    idle: str = ""

    @property
    def late(self) -> bool:
        """Whether recovery took longer than it may."""
        return self.recovery is None or self.recovery > self.fault.limit

    @property
    def over(self) -> float:
        """When all worked again, or was given up (epoch seconds)."""
        return self.healed + (max(_PATIENCE, self.fault.limit) if self.recovery is None else self.recovery)

    def explains(self, moment: float) -> bool:
        """Whether an attempt that ended then may be of this fault's making: a lease later at the most."""
        return self.began - 1.0 <= moment <= self.over + BEFORE_AND_AFTER


@dataclass(frozen=True, slots=True)
class Timeline:
    """All injections: which of them a moment (epoch seconds) belongs to."""

    injections: Sequence[Injection]

    def explained(self, moment: float) -> bool:
        """Whether a fault was near."""
        return any(injection.explains(moment) for injection in self.injections)

    def phase(self, moment: float) -> str:
        """Return the name of the last fault that had begun."""
        begun = [one.fault.name for one in self.injections if one.began - 1.0 <= moment]
        return begun[-1] if begun else NORMAL


def inject(fault: Fault, scene: Scene) -> Injection:
    """Inject a fault, heal it, and wait until new events finish, all workers work, and nothing hangs on the dead."""
    scene.load.phase = fault.name
    began, idle = scene.began_at, ""
    try:
        fault.inject(scene)
    except DidNothing as reason:
        idle = str(reason)
    healed = scene.healed_at or time.time()
    seen = _wait(scene, healed=healed, fault=fault)
    scene.stack.expected_ends = frozenset()
    scene.load.phase = NORMAL
    return Injection(
        fault=fault,
        began=began,
        healed=healed,
        recovery=None if seen[-1] else time.time() - healed,
        missing=tuple(seen[-1]),
        last=tuple(seen[-2]) if len(seen) > 1 else (),
        idle=idle,
    )


def _wait(scene: Scene, *, healed: float, fault: Fault) -> list[list[str]]:
    """Return what was missing at each look."""
    seen: list[list[str]] = []
    deadline = time.monotonic() + max(_PATIENCE, fault.limit)
    stack = scene.stack
    while (not seen or seen[-1]) and time.monotonic() < deadline:
        stack.wait(_LOOK_EVERY)
        workers = [stack.worker_name(name) for name in stack.workers]
        missing = what_is_missing(stack.postgres, since=healed, workers=workers, victims=scene.victims)
        missing += scene.missing() if scene.missing else []
        seen.append([name for name in missing if fault.drains or name != CAUGHT_UP])
    return seen
