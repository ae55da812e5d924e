from collections.abc import Iterable
from typing import Any, cast

from pipelines.arrivals import AwaitedType
from pipelines.kinds import Kind
from pipelines.steps import Step, every
from pipelines.waiting import WaitForEvent


def awaited_by(steps: Iterable[Step]) -> tuple[AwaitedType, ...]:
    """Return what the steps, and those within them, may wait for."""
    return tuple(
        AwaitedType(type=node.type, path=node.match, schema=step.schema, node=step.name)
        for step in every(steps)
        if step.kind is Kind.WAIT and step.schema is not None
        for node in (cast("type[WaitForEvent[Any]]", step.node),)
    )
