import os
import signal
from contextlib import suppress
from typing import Any, Final

from storage.deaths import Death
from worker.deaths import Deaths, OutOfMemory

STOP_CHILD: Final = signal.SIGURG
"""Tells a child to stop. billiard puts its own handler on SIGTERM after every hook, one that loses the message under
way; SIGURG it leaves alone, and a child that has no handler yet ignores it."""


LOOK_SECONDS: Final = 5.0


class Children:
    """The prefork children of Celery's main process, and how those died that are no more."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._memory = OutOfMemory()
        self._deaths = Deaths(self._memory)
        self._watch(worker.pool._pool)  # noqa: SLF001 - Celery shows the exit status of a child nowhere else

    def look(self) -> None:
        """Note what the kernel has killed so far; to be called every ``LOOK_SECONDS``."""
        self._memory.look()

    @property
    def deaths(self) -> dict[int, Death]:
        """How children died, by pid; a new one is forked after the end of who had its place was noted."""
        return self._deaths.by_pid

    def tell_to_stop(self) -> None:
        """Let each child begin its stop; told twice, it hurries. For signal handlers."""
        self._send(STOP_CHILD)

    def kill(self) -> None:
        """End all of them at once, and leave no zombie."""
        for pid in self._send(signal.SIGKILL):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _watch(self, pool: Any) -> None:
        flush = pool.process_flush_queues

        def note_and_flush(process: Any) -> None:
            self._deaths.note(process.pid, process.exitcode)
            flush(process)

        pool.process_flush_queues = note_and_flush

    def _send(self, number: signal.Signals) -> list[int]:
        pool = getattr(getattr(self._worker.pool, "_pool", None), "_pool", None) or ()
        pids = [child.pid for child in pool if child.pid]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids
