"""What a single call of a node comes to."""

from collections.abc import Mapping
from typing import Any

from pipelines.call import Ended, call
from pipelines.context import TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.journal import NodeRecord
from pipelines.output import Output, OutputCodec
from pipelines.results import Broke, GivenUp, Stopped
from pipelines.steps import Step
from pipelines.stop import Stop


async def called(step: Step, context: TaskContext[Any]) -> Output | Broke | Stopped:
    """Call a node."""
    return checked(step, await call(step, context))


def checked(step: Step, ended: Ended, *, codec: OutputCodec | None = None) -> Output | Broke | Stopped:
    """Return what a call ended with, as it is stored: with ``codec``, if it is not of the step's own type."""
    if ended.error is not None:
        return broke_or_stopped(step, ended.error)
    try:
        output = (codec or step.codec).encode(ended.value)
        step.next(output.value)
    except InvalidOutputError as error:
        return refused(step, error)
    return output


def broke_or_stopped(step: Step, error: BaseException) -> Broke | Stopped:
    """Return what a node's error comes to; ``Stop`` is none."""
    if isinstance(error, Stop):
        return Stopped(str(error.reason))
    return refused(step, error) if isinstance(error, InvalidOutputError) else Broke(((step.name, error),))


def refused(step: Step, error: InvalidOutputError) -> Broke:
    """Return what something that a node gave back, and mustn't, comes to."""
    text = str(error)
    named = error if text.startswith("node ") else InvalidOutputError(f"node {step.name!r} {text}")
    return Broke(((step.name, named),))


def restored(step: Step, earlier: NodeRecord, *, codec: OutputCodec | None = None) -> Output | Broke:
    """Take up the output of an earlier try."""
    try:
        output = (codec or step.codec).restore(earlier.output)
        step.next(output.value)
    except InvalidOutputError as error:
        message = f"node {step.name!r}, done in an earlier try, can't be taken up: {error}; replay the event"
        return Broke(((step.name, InvalidOutputError(message)),))
    return output


def stopped_before(earlier: NodeRecord) -> Stopped:
    """Take up that a node stopped the run in an earlier try."""
    return Stopped(_word(earlier, "reason") or "")


def given_up_before(earlier: NodeRecord) -> GivenUp | None:
    """Take up that a branch was given up in an earlier try; None if it has only failed."""
    message = _word(earlier, "given_up")
    return None if message is None else GivenUp(message)


def _word(earlier: NodeRecord, name: str) -> str | None:
    return str(earlier.output[name]) if isinstance(earlier.output, Mapping) and name in earlier.output else None
