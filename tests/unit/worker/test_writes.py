import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError

from events import AttemptOutcome, FailureKind, RunStatus, new_id
from storage.engine import DatabaseUnavailable
from storage.outcomes import Finish, Moved
from storage.versions import Move
from worker import writes as module
from worker.writes import StaleAttempt, Writes


class _Refusal(Exception):  # noqa: N818 - a driver's error
    sqlstate = "22P05"


class _Database:
    @asynccontextmanager
    async def statement(self) -> AsyncIterator[None]:
        yield


class _Storage:
    """Stands for storage: refuses the bad, has lost the stale, and is away as often as told."""

    def __init__(self) -> None:
        self.away = 0
        self.bad: set[UUID] = set()
        self.stale: set[UUID] = set()
        self.written: list[Finish] = []
        self.moved: list[Move] = []

    async def finish_runs(self, _connection: object, finishes: Sequence[Finish]) -> dict[tuple[UUID, int], Moved]:
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable
        if any(finish.run_id in self.bad and finish.kind is None for finish in finishes):
            raise DBAPIError("INSERT", {}, _Refusal())
        held = [finish for finish in finishes if finish.run_id not in self.stale]
        self.written += held
        return {(finish.run_id, finish.attempt): Moved(status=finish.status, age=1.0) for finish in held}

    async def move_runs(self, _connection: object, moves: Sequence[Move]) -> set[tuple[UUID, int]]:
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable
        held = [move for move in moves if move.run_id not in self.stale]
        self.moved += held
        return {(move.run_id, move.attempt) for move in held}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> _Storage:
    made = _Storage()
    monkeypatch.setattr(module, "finish_runs", made.finish_runs)
    monkeypatch.setattr(module, "move_runs", made.move_runs)
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    return made


@asynccontextmanager
async def opened() -> AsyncIterator[Writes]:
    database: Any = _Database()
    writes = Writes(database)
    writes.start()
    yield writes
    await writes.close()


def succeeded() -> Finish:
    return Finish(
        tenant="default",
        run_id=new_id(),
        attempt=1,
        status=RunStatus.SUCCEEDED,
        outcome=AttemptOutcome.SUCCEEDED,
    )


async def test_finish_is_tried_until_postgresql_is_back(storage: _Storage) -> None:
    storage.away = 3
    async with opened() as writes:
        finish = succeeded()
        assert await writes.finish(finish) == Moved(status=RunStatus.SUCCEEDED, age=1.0)
    assert storage.written == [finish]


async def test_run_that_was_lost_is_told_to_its_owner_alone(storage: _Storage) -> None:
    lost, kept = succeeded(), succeeded()
    storage.stale.add(lost.run_id)
    async with opened() as writes:
        results = await asyncio.gather(writes.finish(lost), writes.finish(kept), return_exceptions=True)
    assert isinstance(results[0], StaleAttempt)
    assert results[1] == Moved(status=RunStatus.SUCCEEDED, age=1.0)


async def test_refused_value_fails_its_own_run_and_none_of_its_neighbours(storage: _Storage) -> None:
    finishes = [succeeded() for _ in range(7)]
    storage.bad.add(finishes[4].run_id)
    async with opened() as writes:
        await asyncio.gather(*(writes.finish(finish) for finish in finishes))
    written = {finish.run_id: finish for finish in storage.written}
    assert written[finishes[4].run_id].status is RunStatus.FAILED
    assert written[finishes[4].run_id].kind is FailureKind.INVALID_OUTPUT
    assert sum(finish.status is RunStatus.SUCCEEDED for finish in written.values()) == 6


async def test_a_move_is_made_once_postgresql_is_back_and_told_to_who_lost_the_run(storage: _Storage) -> None:
    lost, kept = (Move(tenant="default", run_id=new_id(), attempt=1, version=2) for _ in range(2))
    storage.stale.add(lost.run_id)
    storage.away = 2
    async with opened() as writes:
        results = await asyncio.gather(writes.move(lost), writes.move(kept), return_exceptions=True)
    assert isinstance(results[0], StaleAttempt)
    assert results[1] is None
    assert storage.moved == [kept]
