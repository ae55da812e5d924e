from abc import abstractmethod
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pipelines.context import TaskContext
from pipelines.driven import DrivenNode

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class MapNode(DrivenNode[list[ResultT]], Generic[ItemT, ResultT]):
    """Does the same for each of many items, ``limit`` of them at once. Its output is the list of their results.

    Each item has a result of its own, so that a later try calls only what is not done; ``ctx.item`` counts them from 1,
    and ``ctx.idempotency_key`` holds the number. ``timeout`` bounds each item. More than ``max_items`` fail the run::

        class ScorePages(MapNode[str, int]):
            limit = 5

            def items(self, ctx: TaskContext[Report]) -> list[str]:
                return ctx.output(FindPages).urls

            async def each(self, ctx: TaskContext[Report], item: str) -> int:
                return len(item)
    """

    limit: ClassVar[int] = 10
    max_items: ClassVar[int] = 10_000

    @abstractmethod
    def items(self, ctx: TaskContext[Any]) -> Sequence[ItemT]:
        """Return the items: a plain function of the context that computes from results and asks nobody.

        It is called again at each try and must then give the same items in the same order.
        """

    @abstractmethod
    def each(self, ctx: TaskContext[Any], item: ItemT) -> Awaitable[ResultT] | ResultT:
        """Do the work for one item, as ``Node.run`` does it for a node."""
