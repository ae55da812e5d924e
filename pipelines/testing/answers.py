"""What a scripted node is called by."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import BaseModel

from events import ThroughlineError
from pipelines.context import TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.kinds import Kind
from pipelines.node import Node
from pipelines.output import OutputCodec
from pipelines.steps import Step

Answer = Callable[..., object]

_NO_CALL: Final = {
    Kind.WAIT: "it waits for an event; let that come: arriving=[event(…)]",
    Kind.SLEEP: "it sleeps on the fake clock, and needs no script",
}


class ScriptError(ThroughlineError):
    """A test's script doesn't fit the pipeline or what became of the run; the message says where."""


def check_is_called(step: Step) -> None:
    """Refuse to script what has no code of its own.

    Raises:
        ScriptError: others do its work.

    """
    if step.called or step.kind is Kind.MAP:
        return
    within = ", ".join(one.name for one in step.below)
    why = _NO_CALL.get(step.kind, f"it is made of others; script these: {within}")
    raise ScriptError(f"{step.name!r} can't be scripted: {why}")


def answer_of(step: Step, wanted: object) -> Answer:
    """Return what to call for one call of a node.

    Raises:
        ScriptError: ``wanted`` is an output, but none of the node's.

    """
    if isinstance(wanted, type) and issubclass(wanted, Node):
        wanted = wanted.name  # what a router chooses
    if isinstance(wanted, BaseException):
        return raising(wanted)
    if isinstance(wanted, type) and issubclass(wanted, BaseException):
        return raising(wanted())
    if callable(wanted) and not isinstance(wanted, BaseModel):
        return wanted
    if step.item_codec is not None:
        return _of_items(step, step.item_codec, wanted)
    text = output_text(step.name, step.codec, wanted)
    return lambda *_: step.codec.decode(text)


def raising(error: BaseException) -> Answer:
    """Return what raises ``error``."""

    def answer(*_: object) -> object:
        raise error.with_traceback(None)

    return answer


def _of_items(step: Step, codec: OutputCodec, wanted: object) -> Answer:
    if not isinstance(wanted, Sequence) or isinstance(wanted, str):
        raise ScriptError(f"{step.name!r} does its work for many items; give a list with the output for each")
    texts = [output_text(f"{step.name}, item {place}", codec, one) for place, one in enumerate(wanted, start=1)]

    def answer(context: TaskContext[Any], _: object) -> object:
        if context.item > len(texts):
            raise ScriptError(f"{step.name!r} has outputs for {len(texts)} items, but comes to item {context.item}")
        return codec.decode(texts[context.item - 1])

    return answer


def output_text(name: str, codec: OutputCodec, wanted: object) -> str:
    """Return an output that a test gives, a value of the node's type or its JSON, as JSON text.

    Raises:
        ScriptError: it is neither.

    """
    try:
        return codec.encode(wanted).text
    except InvalidOutputError as error:
        try:
            return codec.restore(wanted).text  # type: ignore[arg-type]  # or it says so
        except InvalidOutputError:
            raise ScriptError(f"the output that is given for {name!r} is none of its: it {error}") from None
