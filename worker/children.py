import os
import signal
from contextlib import suppress
from typing import Any, Final

STOP_CHILD: Final = signal.SIGURG
"""Tells a child to stop. billiard puts its own handler on SIGTERM after every hook, one that loses the message under
way; SIGURG it leaves alone, and a child that has no handler yet ignores it."""


class Children:
    """The prefork children of Celery's main process."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def tell_to_stop(self) -> None:
        """Let each child begin its stop; told twice, it hurries. For signal handlers."""
        self._send(STOP_CHILD)

    def kill(self) -> None:
        """End all of them at once, and leave no zombie."""
        for pid in self._send(signal.SIGKILL):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _send(self, number: signal.Signals) -> list[int]:
        pool = getattr(getattr(self._worker.pool, "_pool", None), "_pool", None) or ()
        pids = [child.pid for child in pool if child.pid]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids
