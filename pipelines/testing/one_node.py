from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args, get_type_hints

from pydantic import BaseModel

from events import Event
from pipelines.call import call
from pipelines.context import TaskContext
from pipelines.node import Node
from pipelines.pipeline import Pipeline
from pipelines.schema import EventSchema
from pipelines.steps import Step
from pipelines.testing.clock import FakeClock
from pipelines.testing.making import event, json_of
from pipelines.testing.running import complete, surroundings_of
from pipelines.testing.script import output_text

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

    ``data`` is an event, or an event's data: JSON or a model. ``outputs`` are what earlier nodes gave back.

    Raises:
        InvalidOutputError: its output isn't what it declares, or no JSON.
        ScriptError: an output in ``outputs`` isn't one of its node.

    """
    came = data if isinstance(data, Event) else event("test", json_of({} if data is None else data))
    schema = type(data) if isinstance(data, BaseModel) else _schema_of(node)
    alone = Pipeline(name="test", types=("test",), schema=schema, start=node, timeout=_LONGEST)
    clock = clock or FakeClock(came.received_at)
    context = alone.context(came, surroundings=surroundings_of(clock)).at(node.name)
    for earlier, value in (outputs or {}).items():
        _keep(context, earlier, value)
    output: OutputT = complete(_called(alone.steps[node.name], context), clock)
    return output


async def _called(step: Step, context: TaskContext[Any]) -> Any:
    ended = await call(step, context)
    if ended.error is not None:
        raise ended.error
    return step.codec.decode(step.codec.encode(ended.value).text)


def _keep(context: TaskContext[Any], earlier: type[Node[Any]], value: object) -> None:
    codec = Pipeline(name="test", types=("test",), schema=EventSchema, start=earlier).steps[earlier.name].codec
    context.keep(earlier.name, codec, output_text(earlier.name, codec, value))


def _schema_of(node: type[Node[Any]]) -> type[BaseModel]:
    """Return the schema that a node's ``run`` names as its context's."""
    try:
        hints = get_type_hints(node.run)
    except (NameError, TypeError):
        return EventSchema
    for hint in hints.values():
        for argument in get_args(hint):
            if isinstance(argument, type) and issubclass(argument, BaseModel):
                return argument
    return EventSchema
