import asyncio
import sys
import threading
import time
import traceback
from typing import Final

from observability.logs import get_logger
from observability.metrics import Metrics
from pipelines.at_work import NodeAtWork

_LOOKS: Final = 8
_FRAMES: Final = 8
_UNKNOWN: Final = "unknown"

_log = get_logger(__name__)


class Watchdog:
    """Notices from a thread of its own that the event loop is blocked, and names what blocks it while it does.

    ``after`` seconds without a turn of the loop are told once, with node, run and line. It ends nothing: what goes on
    to ``LoopThread``'s limit ends the process. Code that also holds the interpreter keeps this thread waiting, too;
    then only that limit acts, and names the line on stderr. A block of ``lasting`` seconds is remembered.
    """

    def __init__(self, *, after: float, limit: float, lasting: float, metrics: Metrics) -> None:
        self._after = after
        self._limit = limit
        self._lasting = lasting
        self._stood = (0.0, 0.0)
        self._metrics = metrics
        self._step = after / _LOOKS
        self._turn = time.monotonic()
        self._told = False
        self._over = threading.Event()

    def start(self) -> None:
        """Watch the running loop, whose thread this is called in."""
        loop, thread_id = asyncio.get_running_loop(), threading.get_ident()
        self._mark(loop)
        threading.Thread(target=self._watch, args=(loop, thread_id), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()

    def blocked_lately(self, *, within: float) -> float:
        """Return for how long the loop was blocked if that was over ``lasting`` and at most ``within`` ago, else 0."""
        ended, blocked = self._stood
        return blocked if time.monotonic() - ended <= within else 0.0

    def _mark(self, loop: asyncio.AbstractEventLoop) -> None:
        blocked, self._turn = time.monotonic() - self._turn, time.monotonic()
        if blocked >= self._lasting:
            self._stood = (self._turn, blocked)
        if self._told:
            self._told = False
            _log.warning("the event loop goes on", blocked=round(blocked, 1))
        if not self._over.is_set():
            loop.call_later(self._step, self._mark, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        looked = time.monotonic()
        while not self._over.wait(self._step):
            late = time.monotonic() - looked > 2 * self._step  # then it was not the loop alone that stood still
            looked = time.monotonic()
            blocked = looked - self._turn
            if blocked >= self._after and not self._told and not late:
                self._told = True
                self._tell(loop, thread_id, blocked)

    def _tell(self, loop: asyncio.AbstractEventLoop, thread_id: int, blocked: float) -> None:
        task = asyncio.current_task(loop)
        at_work = NodeAtWork.of(task) if task else None
        stack = _stack_of(thread_id)
        self._metrics.loop_blocked.labels(
            pipeline=at_work.pipeline if at_work else _UNKNOWN, node=at_work.node if at_work else _UNKNOWN
        ).inc()
        _log.error(
            "the event loop is blocked; the process is ended if it goes on",
            pipeline=at_work.pipeline if at_work else None,
            node=at_work.node if at_work else None,
            run_id=at_work.run_id if at_work else None,
            task=task.get_name() if task else None,
            line=stack[-1] if stack else None,
            stack=stack,
            blocked=round(blocked, 1),
            ends_in=round(max(0.0, self._limit - blocked), 1),
        )


def _stack_of(thread_id: int) -> list[str]:
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - documented; there is no other way to a thread's stack
    lines = traceback.extract_stack(frame)[-_FRAMES:] if frame else []
    return [f"{line.filename}:{line.lineno} in {line.name}" for line in lines]
