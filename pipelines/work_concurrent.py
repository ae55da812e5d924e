from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from events import Cancelled
from pipelines.concurrent import Branches, ConcurrentNode
from pipelines.context import TaskContext
from pipelines.results import Broke, GivenUp, Result, Stopped
from pipelines.side_by_side import side_by_side
from pipelines.steps import Step

Take = Callable[[Step, TaskContext[Any]], Awaitable[Result]]


async def branches_of(step: Step, context: TaskContext[Any], take: Take) -> Result:
    """Take all branches of a concurrent node; what they come to together is told when all have ended.

    A cancel comes before errors, errors come before a stop.
    """
    bounded = context.bounded(step.timeout, time_of=step.name)
    views = [bounded.apart() for _ in step.branches]
    jobs = [partial(take, branch, view) for branch, view in zip(step.branches, views, strict=True)]
    limit = cast("type[ConcurrentNode]", step.node).limit
    results = await side_by_side(jobs, limit=len(jobs) if limit is None else limit)
    for view in views:
        context.adopt(view)
    return _together(step, results)


def _together(step: Step, results: list[Result]) -> Result:
    for result in results:
        if isinstance(result, Cancelled):
            return result
    errors = tuple(error for result in results if isinstance(result, Broke) for error in result.errors)
    if errors:
        return Broke(errors, of=step.name)
    for result in results:
        if isinstance(result, Stopped):
            return result
    ended = Branches()
    for branch, result in zip(step.branches, results, strict=True):
        if isinstance(result, GivenUp):
            ended.failed[branch.node.name] = result.message
        else:
            ended.succeeded.append(branch.node.name)
    return step.codec.encode(ended)
