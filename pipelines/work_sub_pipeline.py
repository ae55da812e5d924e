import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from pipelines.call import ask
from pipelines.context import TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.output import Output
from pipelines.results import Interruption, Result
from pipelines.steps import Step
from pipelines.sub_pipeline import SubPipeline
from pipelines.work import broke_or_stopped, refused

Through = Callable[[Any, str, TaskContext[Any]], Awaitable[Interruption | None]]


async def passage(step: Step, context: TaskContext[Any], through: Through) -> Result:
    """Take a sub-pipeline from its start to its end and return the output of its result node."""
    node = cast("type[SubPipeline[Any]]", step.node)
    asked = ask(step, context, lambda one: one.data(context))
    if asked.error is not None:
        return broke_or_stopped(step, asked.error)
    if step.schema is None or not isinstance(asked.value, step.schema):
        wanted = node.pipeline.schema.__name__
        given = type(asked.value).__name__
        return refused(step, InvalidOutputError(f"gave {given} as the data of {node.pipeline.name!r}, not {wanted}"))
    inner = context.bounded(step.timeout, time_of=step.name).bounded(node.pipeline.timeout, time_of=step.name)
    inside = inner.inside(step.schema, asked.value)
    interruption = await through(step.inner, node.pipeline.start.name, inside)
    if interruption is not None:
        return interruption
    text = inside.text_of(node.result)
    return Output(json.loads(text), text)
