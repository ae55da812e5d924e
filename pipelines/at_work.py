import asyncio
from dataclasses import dataclass
from typing import Any, Self

_PREFIX = "node"


@dataclass(frozen=True, slots=True)
class NodeAtWork:
    """Which call of a node a task is for; carried in the task's name, which any thread and any debugger can read."""

    pipeline: str
    node: str
    run_id: str

    @property
    def task_name(self) -> str:
        """What the task is to be called."""
        return f"{_PREFIX}:{self.pipeline}:{self.node}:{self.run_id}"

    @classmethod
    def of(cls, task: "asyncio.Task[Any]") -> Self | None:
        """Return what a task is for; None for one that a node's own code has started, or that is no node's."""
        parts = task.get_name().split(":")
        return cls(*parts[1:]) if parts[0] == _PREFIX and len(parts) == 4 else None  # noqa: PLR2004 - as it is written
