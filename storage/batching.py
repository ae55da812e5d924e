import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from events import Transient

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_log = structlog.get_logger("throughline.batching")


class Overloaded(Transient):
    """More is waiting to be written than may wait."""


@dataclass(slots=True)
class _Waiting(Generic[ItemT, ResultT]):
    item: ItemT
    size: int
    weight: int
    future: "asyncio.Future[ResultT]" = field(repr=False)


class Batcher(Generic[ItemT, ResultT]):
    """Lets many callers share one write.

    While one batch is being written the next one gathers, so a lone item is written at once and a crowd shares
    commits. ``flush`` gets the items in the order they came and answers one result, or one exception, for each; an
    exception that it raises goes to every item of its batch, and to no other. An item whose caller has gone before
    its batch began is left out.

    An item may stand for several: its ``weight`` is what it counts for in ``max_items`` and ``max_waiting``.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT | BaseException]]],
        *,
        max_items: int,
        max_waiting: int,
        max_bytes: int = 1 << 62,
        writers: int = 1,
    ) -> None:
        self._flush = flush
        self._max_items = max_items
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting: deque[_Waiting[ItemT, ResultT]] = deque()
        self._weight = 0
        self._arrived = asyncio.Event()
        self._closing = False
        self._wanted = writers
        self._writers: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many items wait for a batch, by weight."""
        return self._weight

    @property
    def room(self) -> int:
        """How many more may wait."""
        return 0 if self._closing else max(0, self._max_waiting - self._weight)

    def start(self) -> None:
        """Start the writers in the running loop; one that dies is replaced."""
        for _ in range(self._wanted):
            self._spawn()

    async def submit(self, item: ItemT, *, size: int = 0) -> ResultT:
        """Write ``item`` with others and return its own result.

        Raises:
            Overloaded: too many items wait, or the batcher is closing; the item was not written.
            BaseException: what ``flush`` gave for this item.

        """
        return await self.enqueue(item, size=size)

    def enqueue(self, item: ItemT, *, size: int = 0, weight: int = 1) -> "asyncio.Future[ResultT]":
        """Hand ``item`` in; return what will hold its result. Whoever settles or cancels that first has left.

        Raises:
            Overloaded: as for ``submit``.

        """
        if self._closing or self._weight + weight > self._max_waiting:
            raise Overloaded
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, size, weight, future))
        self._weight += weight
        if not self._arrived.is_set():
            self._arrived.set()
        return future

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._closing = True
        self._arrived.set()
        while self._writers:
            await asyncio.wait(set(self._writers))

    def _spawn(self) -> None:
        task = asyncio.get_running_loop().create_task(self._write_forever())
        self._writers.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._writers.discard(task)
        if self._closing and not self._waiting:
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("batch writer died and is replaced", exc_info=error)
        with suppress(RuntimeError):  # the loop is closing: there is nobody left to write for
            self._spawn()

    async def _write_forever(self) -> None:
        while not (self._closing and not self._waiting):
            batch = self._next_batch()
            if batch:
                await self._write(batch)
                continue
            self._arrived.clear()
            if not self._waiting and not self._closing:
                await self._arrived.wait()

    def _next_batch(self) -> list[_Waiting[ItemT, ResultT]]:
        batch: list[_Waiting[ItemT, ResultT]] = []
        size = weight = 0
        while self._waiting:
            head = self._waiting[0]
            if batch and (size + head.size > self._max_bytes or weight + head.weight > self._max_items):
                break
            self._waiting.popleft()
            self._weight -= head.weight
            if not head.future.done():
                batch.append(head)
                size += head.size
                weight += head.weight
        return batch

    async def _write(self, batch: list[_Waiting[ItemT, ResultT]]) -> None:
        try:
            results = await self._flush([waiting.item for waiting in batch])
            settled = list(zip(batch, results, strict=True))
        except BaseException as error:
            for waiting in batch:
                _settle(waiting.future, _shareable(error))
            if not isinstance(error, Exception):
                raise
            return
        for waiting, result in settled:
            _settle(waiting.future, result)


def _settle(future: "asyncio.Future[ResultT]", result: ResultT | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _shareable(error: BaseException) -> BaseException:
    """A cancelled writer is no cancelled caller."""
    return Transient("the write was interrupted") if isinstance(error, asyncio.CancelledError) else error
