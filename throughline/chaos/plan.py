import random
from dataclasses import dataclass, replace
from typing import Final

from events import ConfigurationError
from throughline.chaos import code_faults, poison_faults, postgres_faults, process_faults, redis_faults
from throughline.chaos.scene import Fault

FAULTS: Final = (
    *process_faults.FAULTS,
    *poison_faults.FAULTS,
    *code_faults.FAULTS,
    *redis_faults.FAULTS,
    *postgres_faults.FAULTS,
)
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
    """How much of it: ``faults`` are injected, or each once, within ``minutes``, under at least ``events`` events."""

    name: str
    minutes: float
    events: int
    faults: int
    quick: bool
    only: tuple[str, ...] = ()


FULL: Final = Form(name="full", minutes=25.0, events=20_000, faults=52, quick=False)
QUICK: Final = Form(name="quick", minutes=5.0, events=3_000, faults=0, quick=True)
CI: Final = Form(name="short", minutes=2.0, events=600, faults=0, quick=True, only=SHORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One injection: after ``pause`` seconds of peace the fault, for ``hold`` seconds.

    ``first``: it is the fault's first in the plan, which must not be left out.
    """

    fault: Fault
    pause: float
    hold: float
    first: bool = True

    def __str__(self) -> str:
        """Say it in a line of the plan."""
        lasting = f" for {self.hold:.1f} s" if self.hold else ""
        lasting += f" {self.fault.times} times" if self.fault.times > 1 else ""
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
    wanted = [fault for fault in FAULTS if _is_wanted(fault, form, mounted=mounted)]
    if not wanted:
        return []
    chosen = rng.sample(wanted, k=len(wanted))
    again = [fault for fault in wanted if not fault.once] or wanted
    more = max(0, form.faults - sum(fault.times for fault in chosen))
    steps = [_step(fault, form, rng) for fault in chosen]
    return steps + [replace(_step(fault, form, rng), first=False) for fault in rng.choices(again, k=more)]


def _is_wanted(fault: Fault, form: Form, *, mounted: bool) -> bool:
    if form.only and fault.name not in form.only:
        return False
    return (mounted or not fault.needs_mount) and not (form.quick and fault.only_full)


def _step(fault: Fault, form: Form, rng: random.Random) -> Step:
    pause = rng.uniform(0.3, 1.0) if form.quick else rng.uniform(0.5, 3.0)
    hold = fault.quick if form.quick else fault.hold
    return Step(fault=fault, pause=round(pause, 1), hold=hold)
