from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from storage import due
from storage.engine import transaction
from storage.policies import RunPolicy
from tests.support.relaying import World, until


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


async def taken(world: World, most: int) -> list[UUID]:
    async with transaction(world.engine) as connection:
        _, runs = await due.take_due(connection, "default", most=most, lease=60.0, urgent=True)
    return [run.run_id for run in runs]


async def test_the_higher_priority_is_taken_first_and_of_equal_ones_the_older(world: World) -> None:
    plain = await world.store(3)
    low = await world.store(3, policy=RunPolicy(priority=1))
    high = await world.store(3, policy=RunPolicy(priority=9))
    assert await taken(world, 2) == high[:2]
    assert await taken(world, 3) == [high[2], *low[:2]]
    assert await taken(world, 10) == [low[2], *plain]
    assert await taken(world, 10) == []


async def test_a_message_has_runs_of_one_priority_and_the_higher_is_sent_first(world: World) -> None:
    plain = await world.store(50)
    urgent = await world.store(50, policy=RunPolicy(priority=3))
    async with world.relay():
        await until(lambda: len(world.sent()) == 100)
    assert world.sent() == urgent + plain
    assert all(len({run_id in urgent for run_id in message.run_ids}) == 1 for message in world.messages())


async def test_urgent_runs_overtake_a_backlog_but_for_what_is_sent_already(world: World) -> None:
    await world.store(400)
    async with world.relay(relay={"window": 100}):
        await until(lambda: len(world.sent()) == 100)
        urgent = await world.store(20, policy=RunPolicy(priority=1))
        lease_id = await world.lease(seconds=600)
        order: list[UUID] = []

        async def seen() -> bool:
            if world.messages():
                run_ids = world.fetch()
                order.extend(run_ids)
                await world.claim(lease_id, run_ids)
            return set(urgent) <= set(order)

        await until(seen, within=30.0)
    assert max(order.index(run_id) for run_id in urgent) < 100 + len(urgent) + 100
