from collections.abc import Mapping
from typing import Any

from events import Cancelled, NodeStatus, Suspended
from pipelines.admission import held_back
from pipelines.context import TaskContext
from pipelines.kinds import PUT_OFF, Kind
from pipelines.limits import Limit
from pipelines.observing import Observer
from pipelines.output import Output
from pipelines.results import Broke, Interruption, Result
from pipelines.steps import Step, every
from pipelines.work import called, checked, given_up_before, restored, stopped_before
from pipelines.work_concurrent import branches_of
from pipelines.work_map import Items
from pipelines.work_sub_pipeline import passage
from pipelines.work_wait import wait_of


class Walk:
    """One try's way through the graph of a pipeline and of those within it.

    ``limits`` are the pipeline's own.
    """

    def __init__(self, observer: Observer, *, limits: tuple[Limit, ...] = ()) -> None:
        self._observer = observer
        self._limits = limits
        self._come_to: set[str] = set()

    async def through(self, steps: Mapping[str, Step], start: str, context: TaskContext[Any]) -> Interruption | None:
        """Take the steps from ``start`` to an end; return what came in between, None if nothing did."""
        name: str | None = start
        while name is not None:
            result = await self.take(steps[name], context)
            if not isinstance(result, Output):
                return result  # type: ignore[return-value]  # what is given up stands in no graph, only in branches
            name = await self._leave(steps, steps[name], output=result, context=context)
        return None

    async def take(self, step: Step, context: TaskContext[Any]) -> Result:
        """Return the step's output, from an earlier try if it is done, or what came in between."""
        if (reason := context.cancel_reason) is not None:
            return Cancelled(reason=reason)
        self._come_to.add(step.name)
        result = self._done(step, context) if (step.name, 0) in context.done else None
        if result is None and step.limits:
            result = held_back(step, context, limits=self._limits)
        if result is None:
            result = await (self._observer.see(step, context, called) if step.called else self._work(step, context))
        if isinstance(result, Output):
            context.keep(step.node.name, step.codec, result.text)
        return result

    async def skip_rest(self, steps: Mapping[str, Step], context: TaskContext[Any]) -> None:
        """Record as skipped what a run that was stopped did not come to."""
        for step in every(steps.values()):
            if step.name not in self._come_to:
                await self._skip(step.name, context)

    def _done(self, step: Step, context: TaskContext[Any]) -> Result | None:
        earlier = context.done[step.name, 0]
        if earlier.status is NodeStatus.STOPPED:
            return stopped_before(earlier)
        if earlier.status is NodeStatus.FAILED and step.keeps_failure:
            return given_up_before(earlier)
        if earlier.status is not NodeStatus.SUCCEEDED:
            return None
        self._come_to.update(one.name for one in every(step.below))
        for branch in step.branches:
            if isinstance(broke := self._again(branch, context), Broke):
                return broke
        return restored(step, earlier)

    def _again(self, branch: Step, context: TaskContext[Any]) -> Broke | None:
        """Make the outputs of a branch, and of its own branches, available again."""
        earlier = context.done.get((branch.name, 0))
        if earlier is None or earlier.status is not NodeStatus.SUCCEEDED:
            return None
        for one in branch.branches:
            if isinstance(broke := self._again(one, context), Broke):
                return broke
        result = restored(branch, earlier)
        if isinstance(result, Broke):
            return result
        context.keep(branch.node.name, branch.codec, result.text)
        return None

    async def _leave(
        self, steps: Mapping[str, Step], step: Step, *, output: Output, context: TaskContext[Any]
    ) -> str | None:
        """Return the name of the step that follows, None at the end, having recorded the ways not taken."""
        chosen = step.next(output.value)
        for skipped in step.skips.get(chosen, ()):
            for one in every((steps[skipped],)):
                await self._skip(one.name, context)
        return chosen

    async def _skip(self, name: str, context: TaskContext[Any]) -> None:
        self._come_to.add(name)
        if (name, 0) not in context.done:
            await self._observer.skip(name)

    async def _work(self, step: Step, context: TaskContext[Any]) -> Result:
        if step.kind in PUT_OFF:
            return await self._wait(step, context)
        return await self._observer.see(step, context, self._contained)

    async def _contained(self, step: Step, context: TaskContext[Any]) -> Result:
        if step.kind is Kind.CONCURRENT:
            return await branches_of(step, context, self.take)
        if step.kind is Kind.MAP:
            return await Items(step, context, self._observer).all()
        return await passage(step, context, self.through)

    async def _wait(self, step: Step, context: TaskContext[Any]) -> Result:
        came_to = wait_of(step, context.at(step.name))
        if isinstance(came_to, Suspended):
            return came_to

        async def ended(step: Step, _: TaskContext[Any]) -> Result:
            return checked(step, came_to)

        return await self._observer.see(step, context, ended)
