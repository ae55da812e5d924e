from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

from events import NodeStatus
from pipelines.pipeline import Pipeline
from pipelines.steps import every


class Recorded(Protocol):
    """How one node, or one of its items, ended."""

    @property
    def node(self) -> str:
        """Its name."""

    @property
    def status(self) -> NodeStatus:
        """How."""

    @property
    def started_at(self) -> datetime:
        """When it began."""


def way(records: Iterable[Recorded], pipeline: Pipeline[Any]) -> tuple[str, ...]:
    """Return the names of the nodes that ran, well or not, each once, in the order in which they first began.

    What is made of others, a concurrent node or a sub-pipeline, stands before these.
    """
    began: dict[str, datetime] = {}
    for record in records:
        if record.status is not NodeStatus.SKIPPED:
            began[record.node] = min(record.started_at, began.get(record.node, record.started_at))
    order: dict[str, int] = {}
    for place, (name, step) in enumerate(pipeline.all_steps.items()):
        order[name] = place
        inner = [began[one.name] for one in every(step.below) if one.name in began]
        if name in began and inner:
            began[name] = min(began[name], *inner)
    return tuple(sorted(began, key=lambda name: (began[name], order.get(name, len(order)))))
