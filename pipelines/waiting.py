from abc import abstractmethod
from datetime import timedelta
from typing import Any, ClassVar, Final

from pipelines.context import TaskContext
from pipelines.driven import DrivenNode
from pipelines.schema import SchemaT

LONGEST_WAIT: Final = timedelta(days=366).total_seconds()


class WaitForEvent(DrivenNode[SchemaT | None]):
    """Waits, without a worker, until an event of ``type`` comes whose value at ``match`` is ``key``.

    Its output is that event's data; None if none came within ``timeout``, which every wait has, 366 days at most. One
    that came since the run was made counts, too; one event may end many waits::

        class Approval(WaitForEvent[Approved]):
            type = "shop.order_approved"
            match = "data.order_id"
            timeout = timedelta(hours=48)

            def key(self, ctx: TaskContext[Order]) -> str:
                return ctx.data.order_id
    """

    type: ClassVar[str]
    match: ClassVar[str]

    @abstractmethod
    def key(self, ctx: TaskContext[Any]) -> str:
        """Say whose event it waits for: a plain function of the context that asks nobody."""


class Sleep(DrivenNode[None]):
    """Waits, without a worker, for ``duration``, 366 days at most.

    Set ``duration`` (seconds or a timedelta), or compute it in ``seconds``, which is asked once, when it begins.
    """

    duration: ClassVar[float | timedelta]

    def seconds(self, ctx: TaskContext[Any]) -> float:  # noqa: ARG002 - for those who compute it
        """Say how long: a plain function of the context that asks nobody."""
        duration = self.duration
        return duration.total_seconds() if isinstance(duration, timedelta) else duration
