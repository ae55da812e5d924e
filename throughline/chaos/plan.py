import random
from dataclasses import dataclass
from typing import Final

from events import ConfigurationError
from throughline.chaos import postgres_faults, process_faults, redis_faults
from throughline.chaos.scene import Fault

FAULTS: Final = (*process_faults.FAULTS, *redis_faults.FAULTS, *postgres_faults.FAULTS)
SHORT: Final = (
    "worker-killed",
    "child-killed",
    "redis-flushed",
    "redis-killed-busy",
    "postgres-killed",
    "relay-killed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How much of it: ``faults`` are injected, within ``minutes``, under at least ``events`` events."""

    name: str
    minutes: float
    events: int
    faults: int
    quick: bool
    only: tuple[str, ...] = ()


FULL: Final = Form(name="full", minutes=25.0, events=20_000, faults=44, quick=False)
QUICK: Final = Form(name="quick", minutes=5.0, events=3_000, faults=len(FAULTS), quick=True)
CI: Final = Form(name="short", minutes=2.0, events=600, faults=len(SHORT), quick=True, only=SHORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One injection: after ``pause`` seconds of peace the fault, for ``hold`` seconds."""

    fault: Fault
    pause: float
    hold: float

    def __str__(self) -> str:
        """Say it in a line of the plan."""
        lasting = f" for {self.hold:.1f} s" if self.hold else ""
        return f"{self.fault.name}{lasting}, after {self.pause:.1f} s"


def make_plan(form: Form, *, seed: int, mounted: bool) -> list[Step]:
    """Return every fault once, in an order that the seed decides, then as many more at random as the form wants.

    Raises:
        ConfigurationError: ``form.only`` names a fault that there is not.

    """
    unknown = set(form.only) - {fault.name for fault in FAULTS}
    if unknown:
        raise ConfigurationError(
            f"no fault {', '.join(sorted(unknown))}: there are {', '.join(f.name for f in FAULTS)}"
        )
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    wanted = [f for f in FAULTS if (not form.only or f.name in form.only) and (mounted or not f.needs_mount)]
    if not wanted:
        return []
    chosen = rng.sample(wanted, k=len(wanted))
    chosen += rng.choices(wanted, k=max(0, form.faults - len(chosen)))
    return [_step(fault, form, rng) for fault in chosen]


def _step(fault: Fault, form: Form, rng: random.Random) -> Step:
    pause = rng.uniform(0.3, 1.0) if form.quick else rng.uniform(0.5, 3.0)
    hold = fault.quick if form.quick else fault.hold
    return Step(fault=fault, pause=round(pause, 1), hold=hold)
