import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar
from uuid import UUID

from events import AttemptOutcome, FailureKind, Permanent, RunStatus, Transient
from observability.logs import get_logger
from storage.batching import Batcher
from storage.bounded import Connection
from storage.engine import refused_state
from storage.outcomes import Finish, Moved, NodeWrite, came_to, finish_runs, write_nodes
from storage.versions import Move, move_runs
from storage.wake import notify
from worker.database import Database

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_MOST: Final = 200
_ALONE: Final = _MOST
_MOST_WAITING: Final = 100_000
_WRITERS: Final = 2
_PAUSE: Final = 0.3
_REFUSED: Final = '{"type":"ValueRefused","message":"PostgreSQL refused to store what the run came to"}'

_log = get_logger(__name__)


class StaleAttempt(Exception):  # noqa: N818 - the fence at work, not a fault
    """The run has passed to another attempt: nothing of this one counts any more."""


class ValueRefused(Permanent):
    """PostgreSQL refused to store what a node gave back."""


class Writes:
    """Checkpoints, moves and finishes of all runs under way in the process; those that come together share a commit.

    What could not be written, for whatever reason, is tried again alone: a row that somebody locks holds up no others.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._finishes: Batcher[Finish, Moved | None] = Batcher(
            self._write_finishes, max_items=_MOST, max_bytes=_ALONE, max_waiting=_MOST_WAITING, writers=_WRITERS
        )
        self._checkpoints: Batcher[tuple[NodeWrite, ...], bool] = Batcher(
            self._write_checkpoints, max_items=_MOST, max_bytes=_ALONE, max_waiting=_MOST_WAITING, writers=_WRITERS
        )
        self._moves: Batcher[Move, bool] = Batcher(
            self._write_moves, max_items=_MOST, max_bytes=_ALONE, max_waiting=_MOST_WAITING
        )
        self._batchers: tuple[Batcher[Any, Any], ...] = (self._finishes, self._checkpoints, self._moves)

    def start(self) -> None:
        """Start writing, in the running loop."""
        for batcher in self._batchers:
            batcher.start()

    async def close(self) -> None:
        """Write what waits, then stop."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers))

    async def checkpoint(self, nodes: tuple[NodeWrite, ...]) -> None:
        """Commit node results; waits for PostgreSQL as long as it takes.

        Raises:
            StaleAttempt: the run is no longer this attempt's.
            ValueRefused: a result is nothing that PostgreSQL can store.

        """
        size = 1
        while True:
            try:
                held = await self._checkpoints.submit(nodes, size=size)
            except Exception as error:
                if refused_state(error) is not None:
                    raise ValueRefused from error
                await _pause_after(error)
                size = _ALONE
            else:
                if not held:
                    raise StaleAttempt
                return

    async def move(self, move: Move) -> None:
        """Commit that a run goes on in another version; waits for PostgreSQL as long as it takes.

        Raises:
            StaleAttempt: the run is no longer this attempt's.

        """
        size = 1
        while True:
            try:
                held = await self._moves.submit(move, size=size)
            except Exception as error:  # noqa: BLE001 - nothing of a user's is in it: it passes, or is a fault of ours
                await _pause_after(error)
                size = _ALONE
            else:
                if not held:
                    raise StaleAttempt
                return

    async def finish(self, finish: Finish) -> Moved:
        """Commit the end of an attempt; waits for PostgreSQL as long as it takes.

        What PostgreSQL refuses to store ends the run as failed, so that it is seen and not tried for ever. Returns
        where the run went.

        Raises:
            StaleAttempt: the run is no longer this attempt's.

        """
        size = 1
        while True:
            try:
                moved = await self._finishes.submit(finish, size=size)
                if moved is None and size == _ALONE:
                    moved = await self._came_to(finish)
            except Exception as error:  # noqa: BLE001 - a run that can't be ended would be held for ever
                if refused_state(error) is None:
                    await _pause_after(error)
                    size = _ALONE
                else:
                    _log.exception("PostgreSQL refused what a run came to", run_id=str(finish.run_id))
                    finish = _refused(finish)
            else:
                if moved is None:
                    raise StaleAttempt
                return moved

    async def _came_to(self, finish: Finish) -> Moved | None:
        """Look for an earlier try of this finish that went through, though its answer was lost."""
        async with self._database.statement() as connection:
            return await came_to(connection, finish)

    async def _write_finishes(self, finishes: Sequence[Finish]) -> Sequence[Moved | BaseException | None]:
        async def write(part: Sequence[Finish]) -> list[Moved | None]:
            async with self._database.statement() as connection:
                moved = await finish_runs(connection, part)
                if any(finish.outcome is AttemptOutcome.SUSPENDED for finish in part):
                    await _wake(connection)
            return [moved.get((finish.run_id, finish.attempt)) for finish in part]

        return await _split_refused(finishes, write)

    async def _write_checkpoints(self, batch: Sequence[tuple[NodeWrite, ...]]) -> Sequence[bool | BaseException]:
        async def write(part: Sequence[tuple[NodeWrite, ...]]) -> list[bool]:
            async with self._database.statement() as connection:
                held = await write_nodes(connection, [node for nodes in part for node in nodes])
            return [_key(nodes) in held for nodes in part]

        return await _split_refused(batch, write)

    async def _write_moves(self, batch: Sequence[Move]) -> Sequence[bool]:
        async with self._database.statement() as connection:
            held = await move_runs(connection, batch)
        return [(move.run_id, move.attempt) in held for move in batch]


async def _wake(connection: Connection) -> None:
    """Let the relays look at once what runs wait for; where that fails they look in a while."""
    with suppress(Exception):
        await notify(connection)


async def _split_refused(
    items: Sequence[ItemT], write: Callable[[Sequence[ItemT]], Awaitable[list[ResultT]]]
) -> list[ResultT | BaseException]:
    """Write all at once or, when PostgreSQL refuses a value, in halves, until only the bad item is refused.

    What a half comes to for another reason is its own: what the other half has committed stands.
    """
    try:
        return [*await write(items)]
    except Exception as error:  # noqa: BLE001 - it is told to those whose items it concerns
        if refused_state(error) is None or len(items) == 1:
            return [error] * len(items)
    middle = len(items) // 2
    return [*await _split_refused(items[:middle], write), *await _split_refused(items[middle:], write)]


async def _pause_after(error: Exception) -> None:
    """Wait before another try; what does not pass by itself, such as a mistake of ours, is told each time."""
    if not isinstance(error, Transient):
        _log.error("a write failed and is tried again", exc_info=error)
    await asyncio.sleep(_PAUSE)


def _refused(finish: Finish) -> Finish:
    return replace(
        finish,
        status=RunStatus.FAILED,
        outcome=AttemptOutcome.FAILED,
        kind=FailureKind.INVALID_OUTPUT,
        reason=None,
        error=_REFUSED,
        nodes=(),
        limits=None,
        wait=None,
    )


def _key(nodes: tuple[NodeWrite, ...]) -> tuple[UUID, int]:
    return nodes[0].run_id, nodes[0].attempt
