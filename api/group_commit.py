"""Requests that come together share a commit; none is answered before it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from api.deadlines import Deadlines
from api.pace import TICK, Pace
from api.pending import GivenUp, NotStored, Pending, Result, Row, Unstorable, begin_commit, own_result, told_of
from observability.logs import get_logger, hears_debug, limit_rate
from observability.metrics import Metrics
from settings import ApiSettings
from storage.batching import Batcher, Overloaded
from storage.engine import DatabaseUnavailable, refused_state
from storage.records import NewEvent, StoredEvent

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_log = get_logger(__name__)
_hears_debug = hears_debug(__name__)

_ROW_BYTES = 512
"""What a row's attributes count for beside its data, in a flush's bytes."""
_FLUSHES_WAITING = 16
"""How many full flushes' bytes may wait, so that a crowd of large bodies ends in 503 and not in the memory."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.25


class Store(Protocol):
    """Stores events in one transaction, in ``within`` seconds at most; ``before_commit`` is called right before."""

    async def __call__(
        self, events: Sequence[NewEvent], *, within: float, before_commit: Callable[[], None]
    ) -> list[StoredEvent]:
        """See the class."""


class GroupCommit:
    """Stores events, many in a commit, each with an answer of its own."""

    def __init__(
        self, store: Store, settings: ApiSettings, *, metrics: Metrics, on_created: Callable[[], None]
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._on_created = on_created
        self._timeout = settings.accept_timeout
        self._most_waiting = settings.flush_queue_max
        self._shed_after = settings.shed_after
        self._pace = Pace(lanes=settings.flushers, rows=settings.flush_max_rows)
        self._ticking: asyncio.Handle | None = None
        self._bytes = 0
        self._most_rows = settings.flush_max_rows
        self._flush_bytes = settings.flush_max_bytes
        self._most_bytes = max(settings.flush_max_bytes * _FLUSHES_WAITING, settings.max_body_bytes * 2)
        self._deadlines: Deadlines[Pending] = Deadlines(self._expire)
        self._batcher: Batcher[Pending, Sequence[Result]] = Batcher(
            self._flush,
            max_items=settings.flush_max_rows,
            max_bytes=settings.flush_max_bytes,
            max_waiting=settings.flush_queue_max,
            writers=settings.flushers,
        )

    @property
    def waiting(self) -> int:
        """How many events wait for a flush."""
        return self._batcher.waiting

    def start(self) -> None:
        """Start the flushers in the running loop."""
        limit_rate(__name__)
        self._batcher.start()
        self._tick()

    async def close(self) -> None:
        """Store what waits, then stop."""
        await self._batcher.close()
        self._deadlines.close()
        if self._ticking is not None:
            self._ticking.cancel()

    def _tick(self) -> None:
        self._pace.tick()
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def is_overloaded(self) -> bool:
        """Say whether an event that came now would find no place, or wait longer than ``shed_after``."""
        waiting = self.waiting
        return waiting >= self._most_waiting or self._pace.wait(waiting=waiting) > self._shed_after

    async def store(self, event: NewEvent) -> StoredEvent:
        """Store ``event``, or find what stands for its key; returns after the commit.

        Raises:
            Overloaded: too much waits; not stored.
            NotStored: PostgreSQL is away, or ``accept_timeout`` was over before the commit; it will not be stored.
            OutcomeUnknown: the time was over, or the connection lost, in mid-commit.
            Unstorable: PostgreSQL refuses this event.

        """
        size = _size(event)
        if self._bytes + size > self._most_bytes:
            raise Overloaded
        (result,) = await self._results(self._hand_in((event,), size))
        if isinstance(result, Exception):
            raise result
        return result

    async def store_all(self, events: Sequence[NewEvent]) -> list[StoredEvent | Exception]:
        """Store several that came together; each has an answer of its own, which may be what ``store`` raises."""
        answers: list[StoredEvent | Exception] = [Overloaded()] * len(events)
        handed = self._hand_in_all(events)
        try:
            while handed:
                places, pending = handed.popleft()
                for place, answer in zip(places, await self._results(pending), strict=True):
                    answers[place] = answer
        finally:
            for _, pending in handed:
                self._leave(pending)
        return answers

    def _hand_in_all(self, events: Sequence[NewEvent]) -> "deque[tuple[list[int], Pending]]":
        """Hand in what finds a place, in groups that fit into a flush; with each the places of its events."""
        handed: deque[tuple[list[int], Pending]] = deque()
        places: list[int] = []
        size = 0

        def hand_in() -> None:
            handed.append((places, self._hand_in([events[place] for place in places], size)))

        for place, event in enumerate(events):
            own = _size(event)
            if len(places) >= self._batcher.room or self._bytes + size + own > self._most_bytes:
                continue
            if places and (len(places) >= self._most_rows or size + own > self._flush_bytes):
                hand_in()
                places, size = [], 0
            places.append(place)
            size += own
        if places:
            hand_in()
        return handed

    def _hand_in(self, events: Sequence[NewEvent], size: int) -> Pending:
        count = len(events)
        pending = Pending(events, size, asyncio.get_running_loop().time() + self._timeout, bytearray(count))
        pending.future = self._batcher.enqueue(pending, size=size, weight=count)
        self._bytes += size
        self._deadlines.add(pending.deadline, pending)
        return pending

    async def _results(self, pending: Pending) -> list[StoredEvent | Exception]:
        try:
            found = await pending.future
        except Exception as error:  # noqa: BLE001 - it is the answer of each of them
            pending.given_up = True
            found = [error] * len(pending.events)
        finally:
            self._bytes -= pending.size
        return [
            result if isinstance(result, StoredEvent) else told_of(result, committing=bool(committing))
            for result, committing in zip(found, pending.committing, strict=True)
        ]

    def _leave(self, pending: Pending) -> None:
        self._bytes -= pending.size
        if not pending.future.cancel() and not pending.future.cancelled():
            pending.future.exception()

    def _expire(self, pending: Pending) -> None:
        if not pending.future.done():
            pending.given_up = True
            pending.future.set_result([NotStored()] * len(pending.events))

    async def _flush(self, batch: Sequence[Pending]) -> list[list[Result]]:
        loop = asyncio.get_running_loop()
        began = self._pace.begin(loop.time())
        rows = [(pending, place) for pending in batch for place in range(len(pending.events))]
        stored = False
        try:
            results = await split_refused(rows, self._write)
            stored = any(isinstance(result, StoredEvent) for result in results)
        finally:
            self._pace.end(began, loop.time(), stored=stored)
        self._metrics.ingest_flush_events.labels().observe(len(rows))
        self._metrics.ingest_flush_duration.labels().observe(loop.time() - began)
        if any(isinstance(result, StoredEvent) and result.created and _wakes(result) for result in results):
            self._on_created()
        if _hears_debug():
            took = round(loop.time() - began, 6)
            _log.debug("events stored together", events=len(rows), requests=len(batch), duration=took)
        each = iter(results)
        return [list(islice(each, len(pending.events))) for pending in batch]

    async def _write(self, rows: Sequence[Row]) -> list[Result]:
        """Store rows; while PostgreSQL is away try again, until the last of their deadlines.

        Whoever's own time was over before the commit has been told that nothing was stored, and is left out. Storing
        twice is safe: a row that is already there under our own event id came from an earlier try whose answer was
        lost.
        """
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while live := [row for row in rows if not row[0].given_up]:
            deadline = max(pending.deadline for pending, _ in live)
            try:
                stored = await self._store(
                    [pending.events[place] for pending, place in live],
                    within=deadline - loop.time(),
                    before_commit=partial(begin_commit, live),
                )
            except GivenUp:
                continue
            except DatabaseUnavailable as error:
                if loop.time() + pause >= deadline:
                    _log.warning("events could not be stored", events=len(live), error=str(error))
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                found = dict(zip(live, stored, strict=True))
                return [own_result(row, found.get(row)) for row in rows]
        return [NotStored() for _ in rows]


def _wakes(stored: StoredEvent) -> bool:
    """Say whether the relays have to do with an event: publish its runs, or look who waits for it."""
    return bool(stored.runs) or stored.awaited


def _size(event: NewEvent) -> int:
    return len(event.data) + _ROW_BYTES


async def split_refused(
    batch: Sequence[ItemT], write: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]]
) -> list[ResultT | BaseException]:
    """Write a batch; where it is refused, its halves, down to the single item that has to bear it.

    That PostgreSQL is away is no refusal: it holds for every item of the batch.
    """
    try:
        return list(await write(batch))
    except DatabaseUnavailable as error:
        return [error] * len(batch)
    except Exception as error:  # noqa: BLE001 - whatever an odd item brings about, its neighbours don't bear it
        if len(batch) == 1:
            state = refused_state(error)
            return [Unstorable(state) if state else error]
    middle = len(batch) // 2
    return [*await split_refused(batch[:middle], write), *await split_refused(batch[middle:], write)]
