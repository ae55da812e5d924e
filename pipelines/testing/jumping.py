"""An event loop whose time is a fake clock's: what waits for time alone does not wait."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVarTuple, Unpack

from pipelines.testing.clock import FakeClock

ArgsT = TypeVarTuple("ArgsT")


class _Selector(selectors.DefaultSelector):
    """Puts the clock forward instead of waiting, unless there is more to wait for than time."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if timeout is None or self.threads or len(self.get_map()) > 1:
            found = super().select(timeout)
            if found or timeout is None:
                return found
        self._clock.advance(timeout)
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    """Lives by ``clock``. Threads and sockets are waited for as ever; the clock stands still meanwhile."""

    def __init__(self, clock: FakeClock) -> None:
        self._fake_clock = clock
        self._fake_selector = _Selector(clock)
        super().__init__(self._fake_selector)

    def time(self) -> float:
        """Return what the clock shows."""
        return self._fake_clock.elapsed

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[ArgsT]], Any], *args: *ArgsT
    ) -> "asyncio.Future[Any]":
        """See ``asyncio``; time doesn't jump as long as the thread is at work."""
        self._fake_selector.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: "asyncio.Future[Any]") -> None:
        self._fake_selector.threads -= 1
