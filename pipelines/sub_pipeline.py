from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.driven import DrivenNode
from pipelines.node import Node, OutputT

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipelines.context import TaskContext
    from pipelines.pipeline import Pipeline


class SubPipeline(DrivenNode[OutputT]):
    """Runs another pipeline as one node, in the same run. Its output is that of the inner node ``result``.

    The inner nodes are recorded, traced and counted as ``outer.inner``; they see each other's outputs and ``data``
    alone, not the outer nodes'. The inner pipeline's ``retry`` and ``timeout`` go for them, its limits for this node;
    its types, queue, lifetime and promises go for nothing here. ``result`` must lie on every way through it::

        class Enrich(SubPipeline[Profile]):
            pipeline = lookup
            result = FindProfile

            def data(self, ctx: TaskContext[Order]) -> Customer:
                return Customer(id=ctx.data.customer)
    """

    pipeline: ClassVar[Pipeline[Any]]
    result: type[Node[OutputT]]

    @abstractmethod
    def data(self, ctx: TaskContext[Any]) -> BaseModel:
        """Return what the inner nodes see as ``ctx.data``, an object of the inner pipeline's schema.

        A plain function of the context that computes from results and asks nobody; it is called again at each try.
        """
