import math
from typing import Any, Final, cast

from pydantic import ValidationError

from events import AwaitedEvent, Event, QueueReason, Suspended
from pipelines.call import Ended, ask
from pipelines.context import TaskContext
from pipelines.error_info import fields_of
from pipelines.errors import InvalidOutputError
from pipelines.kinds import Kind
from pipelines.output import OutputCodec
from pipelines.paths import LONGEST_KEY
from pipelines.schema import parse
from pipelines.steps import Step
from pipelines.waiting import LONGEST_WAIT, WaitForEvent

_KEY: Final = OutputCodec(str)


def wait_of(step: Step, context: TaskContext[Any]) -> Suspended | Ended:
    """Begin a wait, go on with it, or say how it ended: with the awaited event's data, or with None."""
    state = context.waits.get(step.name)
    if state is not None and state.event is not None:
        return _arrived(step, state.event)
    if state is not None and state.remaining <= 0:
        return Ended()
    remaining = None if state is None else state.remaining
    return (_sleep if step.kind is Kind.SLEEP else _await)(step, context, remaining)


def _sleep(step: Step, context: TaskContext[Any], remaining: float | None) -> Suspended | Ended:
    if remaining is None:
        asked = ask(step, context, lambda node: node.seconds(context))
        if asked.error is not None:
            return asked
        if (problem := _problem(asked.value)) is not None:
            return Ended(error=InvalidOutputError(problem))
        remaining = float(cast("float", asked.value))
        if remaining == 0:
            return Ended()
    return Suspended(node=step.name, reason=QueueReason.SLEEPING, delay=_within_life(remaining, context))


def _await(step: Step, context: TaskContext[Any], remaining: float | None) -> Suspended | Ended:
    asked = ask(step, context, lambda node: node.key(context))
    if asked.error is not None:
        return asked
    if not isinstance(asked.value, str):
        return Ended(error=InvalidOutputError(f"gave {type(asked.value).__name__} as the key it waits for, not a str"))
    try:
        key = _KEY.encode(asked.value[:LONGEST_KEY]).value
    except InvalidOutputError as error:
        return Ended(error=error)
    node = cast("type[WaitForEvent[Any]]", step.node)
    return Suspended(
        node=step.name,
        reason=QueueReason.WAITING,
        delay=_within_life(step.wait if remaining is None else remaining, context),
        awaited=AwaitedEvent(type=node.type, path=node.match, key=str(key)),
    )


def _arrived(step: Step, event: Event) -> Ended:
    if step.schema is None:
        raise TypeError(f"{step.name!r} waits for no event")
    try:
        return Ended(parse(step.schema, event.data))
    except ValidationError as error:
        told = f"waited for an event whose data does not fit {step.schema.__name__}: {fields_of(error)}"
        return Ended(error=InvalidOutputError(told))
    except Exception as error:  # noqa: BLE001 - a schema's own validators may raise anything
        return Ended(error=error)


def _problem(seconds: object) -> str | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return f"gave {type(seconds).__name__} as the seconds that it sleeps, not a number"
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_WAIT):
        return f"would sleep for {seconds!r} s; it may for 0 to {LONGEST_WAIT:.0f}, which are 366 days"
    return None


def _within_life(delay: float, context: TaskContext[Any]) -> float:
    """Wait no longer than the run may live: then it fails for want of time at once, not at the end of the wait."""
    return max(0.0, min(delay, context.expires - context.surroundings.monotonic()))
