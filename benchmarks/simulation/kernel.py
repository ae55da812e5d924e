"""Simulated time, and what things wait for in it.

A life is a generator that yields steps; a step begins something and calls what it is given, once, when that is over.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeAlias

Resume: TypeAlias = Callable[[], None]
Step: TypeAlias = Callable[[Resume], None]
Life: TypeAlias = Generator[Step, None, None]


class Kernel:
    """The clock. What is busy counts from ``begin`` to ``end`` alone."""

    def __init__(self, *, begin: float, end: float) -> None:
        self.now = 0.0
        self.begin = begin
        self.end = end
        self._heap: list[tuple[float, int, Resume]] = []
        self._order = itertools.count()

    def after(self, seconds: float, call: Resume) -> None:
        """Call so many seconds from now; what is due at one time is called in the order it was asked for."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._order), call))

    def spawn(self, life: Life) -> None:
        """Let a life begin now."""

        def go_on() -> None:
            step = next(life, None)
            if step is not None:
                step(go_on)

        self.after(0.0, go_on)

    def sleep(self, seconds: float) -> Step:
        """Return the step that takes so long."""
        return lambda resume: self.after(seconds, resume)

    def run(self) -> None:
        """Let time pass until the end of what is measured."""
        while self._heap and self._heap[0][0] <= self.end:
            self.now, _, call = heapq.heappop(self._heap)
            call()
        self.now = self.end

    def measured(self, since: float) -> float:
        """Return how much of the time from ``since`` to now is measured."""
        return max(0.0, min(self.now, self.end) - max(since, self.begin))


class Cores:
    """A number of cores that take work as it comes, each to its end."""

    def __init__(self, kernel: Kernel, count: int) -> None:
        self.count = count
        self._kernel = kernel
        self._idle = count
        self._waiting: deque[tuple[float, Resume]] = deque()
        self._demand = 0.0

    def use(self, seconds: float) -> Step:
        """Return the step that takes so much of one core."""
        return lambda resume: self._ask(seconds, resume)

    @property
    def utilisation(self) -> float:
        """The share of the measured time that they were busy."""
        return self._demand / (self._kernel.end - self._kernel.begin) / self.count

    def _ask(self, seconds: float, resume: Resume) -> None:
        if self._idle:
            self._idle -= 1
            self._begin(seconds, resume)
        else:
            self._waiting.append((seconds, resume))

    def _begin(self, seconds: float, resume: Resume) -> None:
        began, kernel = self._kernel.now, self._kernel
        self._demand += max(0.0, min(began + seconds, kernel.end) - max(began, kernel.begin))
        kernel.after(seconds, lambda: self._ended(resume))

    def _ended(self, resume: Resume) -> None:
        if self._waiting:
            self._begin(*self._waiting.popleft())
        else:
            self._idle += 1
        resume()


class Process:
    """One thread: its work is done in the order it came, on a core of its own or on one of those it shares."""

    def __init__(self, kernel: Kernel, shared: Cores | None) -> None:
        self._own = Cores(kernel, 1)
        self._shared = shared
        self._waiting: deque[tuple[float, Resume]] = deque()
        self._busy = False
        self._kernel = kernel
        self._demand = 0.0

    def use(self, seconds: float) -> Step:
        """Return the step that takes so much of the thread's time."""
        return self._own.use(seconds) if self._shared is None else lambda resume: self._ask(seconds, resume)

    @property
    def utilisation(self) -> float:
        """The share of the measured time that it ran."""
        return self._own.utilisation + self._demand / (self._kernel.end - self._kernel.begin)

    def _ask(self, seconds: float, resume: Resume) -> None:
        self._waiting.append((seconds, resume))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy and self._shared is not None:
            seconds, resume = self._waiting.popleft()
            self._shared.use(seconds)(lambda: self._ended(seconds, resume))

    def _ended(self, seconds: float, resume: Resume) -> None:
        self._demand += min(seconds, self._kernel.measured(self._kernel.now - seconds))
        self._next()
        resume()


class Signal:
    """Wakes all that wait for it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: list[Resume] = []

    def set(self) -> None:
        """Wake them."""
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            self._kernel.after(0.0, resume)

    def wait(self, timeout: float | None = None) -> Step:
        """Return the step that ends with the next ``set``, or when the time is over."""

        def step(resume: Resume) -> None:
            went_on = False

            def once() -> None:
                nonlocal went_on
                if not went_on:
                    went_on = True
                    resume()

            self._waiting.append(once)
            if timeout is not None:
                self._kernel.after(timeout, once)

        return step


class Level:
    """A number that changes in time, such as slots in use."""

    def __init__(self, kernel: Kernel, most: float) -> None:
        self.value = 0.0
        self.most = most
        self._kernel = kernel
        self._since = 0.0
        self._sum = 0.0

    def move(self, by: float) -> None:
        """Add ``by``."""
        self._sum += self.value * self._kernel.measured(self._since)
        self._since = self._kernel.now
        self.value += by

    @property
    def utilisation(self) -> float:
        """Its mean over the measured time, as a share of the most it can be."""
        self.move(0.0)
        return self._sum / (self._kernel.end - self._kernel.begin) / self.most
