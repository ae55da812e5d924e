import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines import TaskContext


class Cancellation:
    """How somebody's wish to end a run reaches its nodes.

    It is heard while they run, and at no other time: a finish that is on its way is left alone, so that whichever
    commits first stands.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._context: TaskContext[Any] | None = None
        self._task: asyncio.Task[Any] | None = None

    @contextmanager
    def heard_by(self, context: TaskContext[Any]) -> Iterator[None]:
        """Let the wish end what the current task does inside the block."""
        self._context, self._task = context, asyncio.current_task()
        try:
            yield
        finally:
            self._task = None

    def request(self, reason: str) -> None:
        """End the run at its next await or node edge. The first wish that is heard counts."""
        if self._task is None or self._context is None or self.reason is not None:
            return
        self.reason = reason
        self._context.cancel(reason)
        self._task.cancel()

    def answered(self) -> bool:
        """Say, of a ``CancelledError`` that came, whether the wish alone brought it, and take it as dealt with."""
        task = asyncio.current_task()
        return self.reason is not None and task is not None and task.uncancel() == 0
