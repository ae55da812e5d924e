import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from uuid import UUID

_PREFIX = "node"


@dataclass(frozen=True, slots=True)
class NodeAtWork:
    """Which call of a node is under way: of a node that waits, carried in its task's name, for threads and debuggers.

    ``inline`` is the one that the process's event loop is in right now, of those that never wait and have no task.
    """

    pipeline: str
    node: str
    run_id: str

    inline: ClassVar[tuple[str, str, UUID] | None] = None

    @property
    def task_name(self) -> str:
        """What the task is to be called."""
        return f"{_PREFIX}:{self.pipeline}:{self.node}:{self.run_id}"

    @classmethod
    def of(cls, task: "asyncio.Task[Any]") -> Self | None:
        """Return what a task is at; None for one that a node's own code has started, or that is at no node."""
        if cls.inline is not None:
            pipeline, node, run_id = cls.inline
            return cls(pipeline, node, str(run_id))
        parts = task.get_name().split(":")
        return cls(*parts[1:]) if parts[0] == _PREFIX and len(parts) == 4 else None  # noqa: PLR2004 - as it is written
