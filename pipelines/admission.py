from typing import Any

from events import Event, LimitKey, QueueReason, Suspended
from pipelines.context import TaskContext
from pipelines.limits import Limit
from pipelines.paths import Attributes
from pipelines.steps import Step


def held_back(step: Step, context: TaskContext[Any], *, limits: tuple[Limit, ...]) -> Suspended | None:
    """Say that a try is put off before ``step`` if it was not admitted by all the step's limits.

    ``limits`` are the pipeline's, by which the run has to be admitted again along with them.
    """
    attributes = _attributes(context.event)
    held = {(permit.name, permit.key) for permit in context.permits}
    wanted = [limit.key_of(attributes) for limit in step.limits]
    if all((one.name, one.key) in held for one in wanted):
        return None
    every: dict[tuple[str, str], LimitKey] = {}
    for one in (*(limit.key_of(attributes) for limit in limits), *wanted):
        every.setdefault((one.name, one.key), one)
    return Suspended(node=step.name, reason=QueueReason.LIMITED, limits=tuple(every.values()))


def _attributes(event: Event) -> Attributes:
    return Attributes(type=event.type, source=event.source, subject=event.subject, data=event.data)
