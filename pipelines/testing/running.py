import asyncio
import contextvars
import threading
from collections.abc import Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from events import Event
from pipelines.event_types import TypeTable
from pipelines.pipeline import Pipeline
from pipelines.surroundings import StandIn, Surroundings
from pipelines.testing.answers import ScriptError
from pipelines.testing.arriving import Arriving
from pipelines.testing.clock import FakeClock
from pipelines.testing.jumping import JumpingLoop
from pipelines.testing.life import Around, live
from pipelines.testing.result import Result
from pipelines.testing.script import NodeKey, Script

FULL_JITTER: Final = 1.0
"""What is drawn in a test for the wait before another try: always the longest that the policy allows."""

ReturnT = TypeVar("ReturnT")


def run(
    pipeline: Pipeline[Any],
    event: Event,
    *,
    script: Mapping[NodeKey, object] | None = None,
    arriving: Iterable[Event | tuple[float | timedelta, Event]] = (),
    clock: FakeClock | None = None,
    accepted_version: int | None = None,
) -> Result:
    """Run a pipeline on an event to the run's end, its retries, sleeps and waits included, with nothing started.

    ``script`` says what nodes answer instead of being called: an output, an exception, a function of the context, or
    ``in_turn(…)`` of these. ``arriving`` are events for the run to wait for, there from the beginning, or, as
    ``(after, event)``, so many seconds later. ``clock`` is where the run begins; without one, when the event came in.
    ``accepted_version`` is the pipeline's that the event was checked against, where its data has to be upcast.

    Raises:
        ScriptError: the pipeline doesn't take the event's type, or the script doesn't fit it, or not what happened.

    """
    if not TypeTable([pipeline]).find(event.type):
        raise ScriptError(f"pipeline {pipeline.name!r} takes {', '.join(pipeline.types)}, not {event.type!r}")
    scripted, arrivals = Script(pipeline, script or {}), Arriving(arriving)
    clock = clock or FakeClock(event.received_at)
    began = clock.elapsed
    around = Around(surroundings=surroundings_of(clock, scripted.stand_in), clock=clock, arrivals=arrivals)
    life = complete(live(pipeline, event, around, accepted_version=accepted_version), clock)
    left = tuple(one.type for one in arrivals.left)
    result = Result(pipeline=pipeline, life=life, duration=clock.elapsed - began, left=left)
    scripted.check_used_up(result.path)
    return result


def surroundings_of(clock: FakeClock, stand_in: StandIn | None = None) -> Surroundings:
    """Return those of a test: its clock, no chance, and what it calls in the place of nodes."""
    return Surroundings(
        now=lambda: clock.now,
        monotonic=lambda: clock.elapsed,
        draw=lambda: FULL_JITTER,
        stand_in=stand_in,
    )


def complete(work: Coroutine[Any, Any, ReturnT], clock: FakeClock) -> ReturnT:
    """Run ``work`` to its end in a loop that lives by ``clock``; also from a test that is in a loop itself."""
    return _in_thread(work, clock) if _in_loop() else _complete(work, clock)


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _complete(work: Coroutine[Any, Any, ReturnT], clock: FakeClock) -> ReturnT:
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(clock)) as runner:
        return runner.run(work)


def _in_thread(work: Coroutine[Any, Any, ReturnT], clock: FakeClock) -> ReturnT:
    ended: list[ReturnT] = []
    failed: list[BaseException] = []

    def work_on() -> None:
        try:
            ended.append(_complete(work, clock))
        except BaseException as error:  # noqa: BLE001 - raised where the test waits
            failed.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work_on,))
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return ended[0]
