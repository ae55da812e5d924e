import asyncio
import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Any, Generic, Protocol, TypeVar


class Awaited(Protocol):
    """What has a deadline: over when its future is done."""

    @property
    def future(self) -> "asyncio.Future[Any]":
        """What ends with it."""


AwaitedT = TypeVar("AwaitedT", bound=Awaited)


class Deadlines(Generic[AwaitedT]):
    """Calls ``expire`` with each that is not done at its deadline. One timer for all of them: a timer each is dear."""

    def __init__(self, expire: Callable[[AwaitedT], None]) -> None:
        self._expire = expire
        self._heap: list[tuple[float, int, AwaitedT]] = []
        self._order = count()
        self._timer: asyncio.Handle | None = None
        self._due = math.inf

    def add(self, deadline: float, one: AwaitedT) -> None:
        """Watch ``one`` until ``deadline``, a time of the running loop."""
        self._forget_done()
        heapq.heappush(self._heap, (deadline, next(self._order), one))
        if deadline < self._due:
            self._arm(deadline)

    def close(self) -> None:
        """Watch nothing more."""
        self._heap.clear()
        self._due = math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = when
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._due = math.inf
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            self._expire(heapq.heappop(self._heap)[2])
        self._forget_done()
        if self._heap:
            self._arm(self._heap[0][0])

    def _forget_done(self) -> None:
        while self._heap and self._heap[0][2].future.done():
            heapq.heappop(self._heap)
