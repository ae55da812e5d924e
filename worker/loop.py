import asyncio
import concurrent.futures
import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import uvloop

from observability.logs import get_logger

ResultT = TypeVar("ResultT")

_log = get_logger(__name__)

_LOOK: Final = 1.0
_NODE_THREADS: Final = "throughline-node"


class LoopEnded(RuntimeError):  # noqa: N818 - a state that callers handle
    """The process's event loop is no longer running."""


class LoopThread:
    """The one event loop of a process, in a thread of its own; synchronous nodes get ``threads`` threads beside it.

    A loop that is blocked can't renew the lease, and nothing in Python can interrupt what blocks it. So, armed, a loop
    that was blocked for ``blocked_limit`` seconds ends the process, having written the line that blocks to stderr.
    ``Watchdog`` tells earlier, and more.
    """

    def __init__(self, *, threads: int, blocked_limit: float) -> None:
        self._threads = threads
        self._limit = blocked_limit
        self._asked_to_stop = False
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="event-loop", daemon=True)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself."""
        return self._loop

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, ResultT]) -> "concurrent.futures.Future[ResultT]":
        """Run a coroutine in the loop.

        Raises:
            LoopEnded: there is no loop to run it in.

        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise LoopEnded from None

    def wait(self, coroutine: Coroutine[Any, Any, ResultT], *, timeout: float | None = None) -> ResultT:
        """Run a coroutine in the loop and return its result; never waits for a loop that has ended.

        Raises:
            TimeoutError: it took longer; it was cancelled.
            concurrent.futures.CancelledError: it was cancelled in the loop.
            LoopEnded: the loop ended first.

        """
        future = self.submit(coroutine)
        left = timeout
        while not concurrent.futures.wait({future}, timeout=_LOOK if left is None else min(_LOOK, left)).done:
            if left is not None:
                left -= _LOOK
                if left <= 0:
                    future.cancel()
                    raise TimeoutError
            if not self._thread.is_alive():
                raise LoopEnded
        return future.result()

    def stop(self, *, timeout: float = 2.0) -> bool:
        """End the loop, cancelling what is in it; False if it, or a node's thread, goes on all the same."""
        self._asked_to_stop = True
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith(_NODE_THREADS)]
        for thread in threads:
            thread.join(0.1)
        return not any(thread.is_alive() for thread in (self._thread, *threads))

    def arm(self) -> None:
        """Watch the loop for being blocked, from within the loop."""
        faulthandler.dump_traceback_later(self._limit, exit=True, file=sys.__stderr__ or sys.stderr)
        self._loop.call_later(self._limit / 4, self.arm)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        executor = concurrent.futures.ThreadPoolExecutor(self._threads, thread_name_prefix=_NODE_THREADS)
        self._loop.set_default_executor(executor)
        try:
            self._loop.run_forever()
        finally:
            if not self._asked_to_stop:
                _log.critical("the event loop ended unasked: the process ends, too", exc_info=True)
                os._exit(1)
            _cancel_all(self._loop)
            faulthandler.cancel_dump_traceback_later()
            executor.shutdown(wait=False, cancel_futures=True)
            self._loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_LOOK))
    loop.run_until_complete(loop.shutdown_asyncgens())
