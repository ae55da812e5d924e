import json
import os
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from throughline.chaos.looks import attempts_begun, deferred_pipelines
from throughline.chaos.poison_faults import still_open
from throughline.chaos.scene import Fault, Scene
from throughline.chaos.stack import OLDER_FLOWS, PREFORK, RELAYS, THREADS, ChaosStack, modules

_CLOCK = Path(__file__).parent / "wrong_clock"
_HOUR = 3600.0
_NEWER = {"chaos_fresh", "chaos_grown"}
_DEFERRED_WITHIN = 15.0
_WORKING_WITHIN = 10.0


def _set_clocks(scene: Scene, *, shift: float) -> None:
    """A worker and a relay whose wall clocks are an hour wrong, under load of retries and of long runs."""
    stack, names = scene.stack, (THREADS[1], RELAYS[1])
    path = os.pathsep.join((str(_CLOCK), stack.environment()["PYTHONPATH"]))
    for name in names:
        stack.restart(name, PYTHONPATH=path, CHAOS_CLOCK_SHIFT=str(shift))
    for name in names:
        wrong = stack.wait(_WORKING_WITHIN, until=partial(_is_wrong, stack, name, shift))
        scene.prove(wrong, f"the clock of {name} is right")
    since, worker = time.time(), stack.worker_name(names[0])
    scene.load.burst(60, wait=0.5)
    scene.load.burst(20, type_="chaos.flaky", fail_attempts=2)
    scene.keep()
    worked = stack.wait(_WORKING_WITHIN, until=lambda: attempts_begun(stack.postgres, worker, since=since, limit=1) > 0)
    for name in names:
        stack.restart(name)
    scene.healed()
    scene.prove(worked, "the worker with the wrong clock did nothing")


def _is_wrong(stack: ChaosStack, name: str, shift: float) -> bool:
    return abs(_clock_of(stack.log(name)) - time.time() - shift) < _HOUR / 2


def _clock_of(log: list[str]) -> float:
    """Return the time that the last line of a JSON log bears."""
    for line in reversed(log):
        if line.startswith("{") and "timestamp" in (said := json.loads(line)):
            return datetime.fromisoformat(said["timestamp"]).timestamp()
    return 0.0


def _old_and_new(scene: Scene) -> None:
    """Two workers of older code, that knows neither one pipeline nor the present version of another; then new ones."""
    stack, names, seen = scene.stack, (THREADS[0], PREFORK), set[str]()
    for name in names:
        stack.restart(name, THROUGHLINE_PIPELINES_MODULES=modules(OLDER_FLOWS))

    def all_deferred() -> bool:
        sent.extend(scene.load.burst(1, type_="chaos.fresh") + scene.load.burst(1, type_="chaos.grown", wait=0.1))
        seen.update(deferred_pipelines(stack.postgres))
        return seen >= _NEWER

    sent = scene.load.burst(30, type_="chaos.fresh") + scene.load.burst(30, type_="chaos.grown", wait=0.1)
    stack.wait(_DEFERRED_WITHIN, until=all_deferred)
    scene.keep()
    for name in names:
        stack.restart(name)
    scene.healed()
    scene.missing = partial(still_open, scene, sent)
    scene.prove(seen >= _NEWER, f"nobody left {', '.join(_NEWER - seen)} to newer code")


FAULTS = (
    Fault(name="clock-ahead", inject=partial(_set_clocks, shift=_HOUR), hold=12.0, only_full=True),
    Fault(name="clock-behind", inject=partial(_set_clocks, shift=-_HOUR), hold=12.0, only_full=True),
    Fault(name="old-and-new", inject=_old_and_new, hold=10.0, quick=2.0),
)
