from typing import Any, ClassVar

from pydantic import BaseModel

from pipelines.driven import DrivenNode
from pipelines.node import Node


class Branches(BaseModel):
    """What became of the branches of a ``ConcurrentNode``: names, and of those that failed what they said."""

    succeeded: list[str] = []
    failed: dict[str, str] = {}


class ConcurrentNode(DrivenNode[Branches]):
    """Runs several nodes side by side, and goes on when all have ended.

    Each of ``nodes`` is a branch: a node with a name, a result, a timeout and a retry policy of its own, asked for its
    output as any other. All of them see what was done before, none what another branch gives back. ``limit`` is how
    many run at once; None runs them all. A branch that fails stops no other: those that are done stay done when the run
    is tried again. ``timeout`` bounds all branches together.

    ``keep_failures``: a branch whose error is final does not end the run; it has no output
    (``ctx.output_or_none(Branch)`` is None), and ``Branches.failed`` says why::

        class Enrich(ConcurrentNode):
            nodes = (LookUpCustomer, ScoreRisk)
            limit = 2
    """

    nodes: ClassVar[tuple[type[Node[Any]], ...]]
    limit: ClassVar[int | None] = None
    keep_failures: ClassVar[bool] = False
