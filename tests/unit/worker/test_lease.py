import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from storage.engine import DatabaseUnavailable
from worker import lease as module
from worker.lease import LeaseKeeper

SECONDS = 0.3


class _Leases:
    """Stands for the lease functions of storage."""

    def __init__(self) -> None:
        self.away = False
        self.ended = False
        self.opened: list[UUID] = []
        self.renewals = 0

    async def open_lease(self, _connection: object, *, lease_id: UUID, **_: object) -> None:
        self._answer()
        self.opened.append(lease_id)
        self.ended = False

    async def renew_lease(self, _connection: object, **_: object) -> bool:
        self._answer()
        self.renewals += 1
        return not self.ended

    def _answer(self) -> None:
        if self.away:
            raise DatabaseUnavailable


class _Database:
    @asynccontextmanager
    async def transaction(self, **_: object) -> AsyncIterator[None]:
        yield


class _World:
    def __init__(self, leases: _Leases) -> None:
        self.leases = leases
        self.lost: list[float] = []
        self.handed_back: list[UUID] = []
        self.refused: list[None] = []
        database: Any = _Database()
        self.keeper = LeaseKeeper(
            database,
            worker="w",
            seconds=SECONDS,
            on_lost=lambda: self.lost.append(asyncio.get_running_loop().time()),
            hand_back=self._hand_back,
            on_refused=lambda: self.refused.append(None),
        )

    async def _hand_back(self, lease_id: UUID) -> None:
        if self.leases.away:
            raise DatabaseUnavailable
        self.handed_back.append(lease_id)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_World]:
    leases = _Leases()
    monkeypatch.setattr(module, "leases", leases)
    made = _World(leases)
    made.keeper.start()
    yield made
    made.keeper.close()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_renews_and_loses_nothing_while_postgresql_answers(world: _World) -> None:
    await _until(lambda: world.leases.renewals >= 5)
    assert len(world.leases.opened) == 1
    assert world.lost == []


async def test_gives_up_before_the_lease_can_have_ended_and_opens_a_new_one_when_postgresql_is_back(
    world: _World,
) -> None:
    first = await world.keeper.held()
    await _until(lambda: world.leases.renewals >= 1)
    renewed = asyncio.get_running_loop().time()
    world.leases.away = True
    await _until(lambda: world.lost)
    assert world.lost[0] - renewed < SECONDS
    assert world.keeper.lease_id is None
    world.leases.away = False
    second = await asyncio.wait_for(world.keeper.held(), 5)
    assert first != second
    assert world.handed_back == [first]


async def test_lease_that_a_rescuer_ended_is_lost_at_the_next_renewal_which_is_counted(world: _World) -> None:
    first = await world.keeper.held()
    world.leases.ended = True
    await _until(lambda: world.lost)
    assert await asyncio.wait_for(world.keeper.held(), 5) != first
    assert len(world.refused) == 1


async def test_closed_keeper_returns_the_lease_to_be_ended_and_never_calls_it_lost(world: _World) -> None:
    lease_id = await world.keeper.held()
    assert world.keeper.close() == lease_id
    await asyncio.sleep(SECONDS)
    assert world.lost == []
    assert world.keeper.close() is None


async def test_keeper_closed_while_it_hands_back_returns_that_lease_for_its_runs_are_still_held(world: _World) -> None:
    lease_id = await world.keeper.held()
    world.leases.away = True
    await _until(lambda: world.lost)
    assert world.keeper.close() == lease_id
    assert world.handed_back == []
