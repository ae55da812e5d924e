from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from events import Cancelled, NodeStatus
from pipelines.call import ask, call
from pipelines.context import TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.mapping import MapNode
from pipelines.observing import Observer
from pipelines.output import Output
from pipelines.results import Broke, Result, Stopped
from pipelines.side_by_side import side_by_side
from pipelines.steps import Step
from pipelines.work import broke_or_stopped, checked, refused, restored, stopped_before

MOST_FAILED: Final = 100
"""Items that may fail in one try before it begins no more of them."""


class Items:
    """The items of a map in one try."""

    def __init__(self, step: Step, context: TaskContext[Any], observer: Observer) -> None:
        self._step = step
        self._context = context
        self._observer = observer
        self._node = cast("type[MapNode[Any, Any]]", step.node)
        self._failed = 0

    async def all(self) -> Result:
        """Do what is left of them and return the list of their results.

        A cancel comes before errors, errors come before a stop.
        """
        asked = ask(self._step, self._context, lambda node: node.items(self._context))
        if asked.error is not None:
            return broke_or_stopped(self._step, asked.error)
        items = asked.value
        if problem := self._problem(items):
            return refused(self._step, InvalidOutputError(problem))
        jobs = [partial(self._one, place, item) for place, item in enumerate(cast("Sequence[Any]", items), start=1)]
        return self._together(await side_by_side(jobs, limit=self._node.limit))

    def _problem(self, items: object) -> str | None:
        if not isinstance(items, Sequence) or isinstance(items, str | bytes):
            return f"gave {type(items).__name__} as its items, not a list"
        if len(items) > self._node.max_items:
            return f"has {len(items)} items, more than its max_items, {self._node.max_items}"
        return None

    async def _one(self, place: int, item: object) -> Result | None:
        """Return what an item came to; None if it is not begun any more."""
        earlier = self._context.done.get((self._step.name, place))
        if earlier is not None and earlier.status is NodeStatus.SUCCEEDED:
            return restored(self._step, earlier, codec=self._step.item_codec)
        if earlier is not None and earlier.status is NodeStatus.STOPPED:
            return stopped_before(earlier)
        if self._context.cancel_reason is not None:
            return Cancelled(reason=self._context.cancel_reason)
        if self._failed >= MOST_FAILED:
            return None
        result = await self._observer.see(self._step, self._context.aside(), partial(self._call, item), item=place)
        self._failed += isinstance(result, Broke)
        return result

    async def _call(self, item: object, step: Step, context: TaskContext[Any]) -> Result:
        return checked(step, await call(step, context, item), codec=step.item_codec)

    def _together(self, results: Sequence[Result | None]) -> Result:
        for result in results:
            if isinstance(result, Cancelled):
                return result
        errors = [error for result in results if isinstance(result, Broke) for _, error in result.errors]
        if len(errors) > 1:
            group = BaseExceptionGroup(f"{len(errors)} of {len(results)} items of {self._step.name!r} failed", errors)
            return Broke(((self._step.name, group),))
        if errors:
            return Broke(((self._step.name, errors[0]),))
        for result in results:
            if isinstance(result, Stopped):
                return result
        outputs = [result for result in results if isinstance(result, Output)]
        return Output([output.value for output in outputs], f"[{','.join(output.text for output in outputs)}]")
