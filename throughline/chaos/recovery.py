import time
from dataclasses import dataclass

from throughline.chaos.looks import CAUGHT_UP, what_is_missing
from throughline.chaos.scene import Fault, Scene
from throughline.chaos.stack import ChaosStack

_LOOK_EVERY = 0.2
_PATIENCE = 120.0
BEFORE_AND_AFTER = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One fault as it went: when it began and healed (epoch seconds), and the seconds until all worked again.

    ``recovery`` is None when it didn't within two minutes; ``missing`` then says what did not. ``last`` is what came
    last where it was waited for.
    """

    fault: Fault
    began: float
    healed: float
    recovery: float | None
    missing: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    @property
    def late(self) -> bool:
        """Whether recovery took longer than it may."""
        return self.recovery is None or self.recovery > self.fault.limit

    def explains(self, moment: float) -> bool:
        """Whether an attempt that ended then may be of this fault's making: a lease later at the most."""
        return self.began - 1.0 <= moment <= self.healed + (self.recovery or _PATIENCE) + BEFORE_AND_AFTER


def inject(fault: Fault, scene: Scene) -> Injection:
    """Inject a fault, heal it, and wait until new events finish, all workers work, and nothing hangs on the dead."""
    scene.load.phase = fault.name
    began = time.time()
    fault.inject(scene)
    healed = scene.healed_at or time.time()
    seen = _wait(scene.stack, healed=healed, scene=scene, drains=fault.drains)
    missing = seen[-1]
    scene.load.phase = "normal"
    recovery = None if missing else time.time() - healed
    last = tuple(seen[-2]) if len(seen) > 1 else ()
    return Injection(fault=fault, began=began, healed=healed, recovery=recovery, missing=tuple(missing), last=last)


def _wait(stack: ChaosStack, *, healed: float, scene: Scene, drains: bool) -> list[list[str]]:
    """Return what was missing at each look."""
    seen: list[list[str]] = []
    deadline = time.monotonic() + _PATIENCE
    while (not seen or seen[-1]) and time.monotonic() < deadline:
        stack.wait(_LOOK_EVERY)
        workers = [stack.worker_name(name) for name in stack.workers]
        missing = what_is_missing(stack.postgres, since=healed, workers=workers, victims=scene.victims)
        seen.append([name for name in missing if drains or name != CAUGHT_UP])
    return seen
