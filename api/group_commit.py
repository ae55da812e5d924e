"""Requests that come together share a commit; none is answered before it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

from api.deadlines import Deadlines
from api.pace import TICK, Pace
from events import Permanent, Transient
from observability.logs import get_logger, limit_rate
from observability.metrics import Metrics
from settings import ApiSettings
from storage.batching import Batcher, Overloaded
from storage.engine import DatabaseUnavailable, refused_state
from storage.records import NewEvent, StoredEvent

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_log = get_logger(__name__)

_ROW_BYTES = 512
"""What a row's attributes count for beside its data, in a flush's bytes."""
_FLUSHES_WAITING = 16
"""How many full flushes' bytes may wait, so that a crowd of large bodies ends in 503 and not in the memory."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.25


class NotStored(Transient):
    """The event was not stored: PostgreSQL is away."""


class OutcomeUnknown(Transient):
    """The commit was sent and its answer lost: the event may have been stored."""


class Unstorable(Permanent):
    """PostgreSQL can't hold this event; the message is the SQLSTATE."""


class Store(Protocol):
    """Stores events in one transaction, in ``within`` seconds at most; ``before_commit`` is called right before."""

    async def __call__(
        self, events: Sequence[NewEvent], *, within: float, before_commit: Callable[[], None]
    ) -> list[StoredEvent]:
        """See the class."""


class _GivenUp(Exception):  # noqa: N818 - a turn that a flush takes, not a fault
    """Somebody of the batch was told that nothing was stored: it must not be committed as it is."""


@dataclass(slots=True, eq=False)
class _Pending:
    event: NewEvent
    size: int
    deadline: float
    committing: bool = False
    given_up: bool = False
    future: "asyncio.Future[StoredEvent]" = field(init=False)


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
        self._most_bytes = max(settings.flush_max_bytes * _FLUSHES_WAITING, settings.max_body_bytes * 2)
        self._deadlines: Deadlines[_Pending] = Deadlines(self._expire)
        self._batcher: Batcher[_Pending, StoredEvent] = Batcher(
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
        return await self._result(self._hand_in(event))

    async def store_all(self, events: Sequence[NewEvent]) -> list[StoredEvent | Exception]:
        """Store several that came together; each has an answer of its own, which may be what ``store`` raises."""
        handed = [self._try_hand_in(event) for event in events]
        results: list[StoredEvent | Exception] = []
        try:
            for one in handed:
                try:
                    results.append(await self._result(one) if isinstance(one, _Pending) else one)
                except Exception as error:  # noqa: BLE001 - it is this event's answer
                    results.append(error)
        finally:
            for one in handed[len(results) + 1 :]:
                if isinstance(one, _Pending):
                    self._leave(one)
        return results

    def _hand_in(self, event: NewEvent) -> _Pending:
        size = len(event.data) + _ROW_BYTES
        if self._bytes + size > self._most_bytes:
            raise Overloaded
        pending = _Pending(event, size, asyncio.get_running_loop().time() + self._timeout)
        pending.future = self._batcher.enqueue(pending, size=size)
        self._bytes += size
        self._deadlines.add(pending.deadline, pending)
        return pending

    def _try_hand_in(self, event: NewEvent) -> _Pending | Overloaded:
        try:
            return self._hand_in(event)
        except Overloaded as error:
            return error

    async def _result(self, pending: _Pending) -> StoredEvent:
        try:
            return await pending.future
        except Transient as error:
            pending.given_up = True
            raise (OutcomeUnknown if pending.committing else NotStored) from error
        finally:
            self._bytes -= pending.size

    def _leave(self, pending: _Pending) -> None:
        self._bytes -= pending.size
        if not pending.future.cancel() and not pending.future.cancelled():
            pending.future.exception()

    def _expire(self, pending: _Pending) -> None:
        if not pending.future.done():
            pending.given_up = True
            pending.future.set_exception(OutcomeUnknown() if pending.committing else NotStored())

    async def _flush(self, batch: Sequence[_Pending]) -> list[StoredEvent | BaseException]:
        loop = asyncio.get_running_loop()
        began = self._pace.begin(loop.time())
        stored = False
        try:
            results = await split_refused(batch, self._write)
            stored = any(isinstance(result, StoredEvent) for result in results)
        finally:
            self._pace.end(began, loop.time(), stored=stored)
        self._metrics.ingest_flush_events.labels().observe(len(batch))
        self._metrics.ingest_flush_duration.labels().observe(loop.time() - began)
        if any(isinstance(result, StoredEvent) and result.created and result.runs for result in results):
            self._on_created()
        return results

    async def _write(self, batch: Sequence[_Pending]) -> list[StoredEvent | BaseException]:
        """Store a batch; while PostgreSQL is away try again, until the last of its deadlines.

        Whoever's own time was over before the commit has been told that nothing was stored, and is left out. Storing
        twice is safe: a row that is already there under our own event id came from an earlier try whose answer was
        lost.
        """
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while live := [pending for pending in batch if not pending.given_up]:
            deadline = max(pending.deadline for pending in live)
            try:
                stored = await self._store(
                    [pending.event for pending in live],
                    within=deadline - loop.time(),
                    before_commit=partial(_begin_commit, live),
                )
            except _GivenUp:
                continue
            except DatabaseUnavailable as error:
                if loop.time() + pause >= deadline:
                    _log.warning("events could not be stored", events=len(live), error=str(error))
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                found = dict(zip(live, stored, strict=True))
                return [_own(pending.event, found.get(pending)) for pending in batch]
        return [NotStored() for _ in batch]


def _begin_commit(batch: Sequence[_Pending]) -> None:
    if any(pending.given_up for pending in batch):
        raise _GivenUp
    for pending in batch:
        pending.committing = True


def _own(event: NewEvent, found: StoredEvent | None) -> StoredEvent | NotStored:
    if found is None:
        return NotStored()
    return found if found.created or found.event_id != event.event_id else replace(found, created=True)


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
