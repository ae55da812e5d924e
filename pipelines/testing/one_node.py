from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, cast, get_args, get_type_hints

from pydantic import BaseModel

from events import Event
from pipelines.call import Ended, ask, call
from pipelines.context import TaskContext
from pipelines.node import Node
from pipelines.output import OutputCodec
from pipelines.pipeline import Pipeline
from pipelines.schema import EventSchema
from pipelines.steps import Step
from pipelines.testing.answers import ScriptError, output_text
from pipelines.testing.clock import FakeClock
from pipelines.testing.making import event, json_of
from pipelines.testing.running import complete, surroundings_of

OutputT = TypeVar("OutputT")

_LONGEST: Final = 366 * 86400.0
"""Seconds that a node without a timeout of its own may take, on the fake clock."""


def run_node(
    node: type[Node[OutputT]],
    data: object = None,
    *,
    outputs: Mapping[type[Node[Any]], object] | None = None,
    clock: FakeClock | None = None,
) -> OutputT:
    """Call one node once, and return its output as it comes back from JSON; an error of its code is raised as it is.

    A node that does its work for many items is called for one after the other.

    ``data`` is an event, or an event's data: JSON or a model. ``outputs`` are what earlier nodes gave back.

    Raises:
        InvalidOutputError: its output isn't what it declares, or no JSON.
        ScriptError: an output in ``outputs`` isn't one of its node, or the node has no code of its own.

    """
    came = data if isinstance(data, Event) else event("test", json_of({} if data is None else data))
    schema = type(data) if isinstance(data, BaseModel) else _schema_of(node)
    alone = Pipeline(name="test", types=("test",), schema=schema, start=node, timeout=_LONGEST)
    clock = clock or FakeClock(came.received_at)
    context = alone.context(came, surroundings=surroundings_of(clock))
    for earlier, value in (outputs or {}).items():
        _keep(context, earlier, value)
    output: OutputT = complete(_called(alone.steps[node.name], context), clock)
    return output


async def _called(step: Step, context: TaskContext[Any]) -> Any:
    if step.item_codec is not None:
        return await _each(step, step.item_codec, context)
    if not step.called:
        raise ScriptError(f"{step.name!r} has no code of its own to call; run a pipeline with it")
    return _read(step.codec, await call(step, context.at(step.name)))


async def _each(step: Step, codec: OutputCodec, context: TaskContext[Any]) -> list[Any]:
    view = context.at(step.name)
    asked = ask(step, view, lambda node: node.items(view))
    if asked.error is not None:
        raise asked.error
    items = enumerate(cast("Sequence[Any]", asked.value), start=1)
    return [_read(codec, await call(step, context.at(step.name, item=place), item)) for place, item in items]


def _read(codec: OutputCodec, ended: Ended) -> Any:
    if ended.error is not None:
        raise ended.error
    return codec.decode(codec.encode(ended.value).text)


def _keep(context: TaskContext[Any], earlier: type[Node[Any]], value: object) -> None:
    codec = Pipeline(name="test", types=("test",), schema=EventSchema, start=earlier).steps[earlier.name].codec
    context.keep(earlier.name, codec, output_text(earlier.name, codec, value))


def _schema_of(node: type[Node[Any]]) -> type[BaseModel]:
    """Return the schema that the node's code names as its context's."""
    try:
        hints = get_type_hints(getattr(node, "each", node.run))
    except (NameError, TypeError):
        return EventSchema
    for hint in hints.values():
        for argument in get_args(hint):
            if isinstance(argument, type) and issubclass(argument, BaseModel):
                return argument
    return EventSchema
