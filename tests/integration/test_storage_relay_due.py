from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from storage import due
from storage.engine import transaction
from tests.support.relaying import World


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


async def take(world: World, *, lease: float) -> due.Taken:
    async with transaction(world.engine) as connection:
        taken, _ = await due.take_due(connection, "default", most=100, lease=lease)
    return taken


async def seconds_to_publishing(world: World) -> float:
    return float(await world.value("SELECT max(extract(epoch FROM publish_at - now()))::float8 FROM runs"))


async def test_what_is_taken_is_out_of_sight_until_it_is_put_back(world: World) -> None:
    await world.store(3)
    taken = await take(world, lease=60.0)
    assert len(taken.keys) == 3
    assert (await take(world, lease=60.0)).keys == ()
    async with transaction(world.engine) as connection:
        assert (await due.window_of(connection, "default", most=100)).sent == 3
        await due.put_back(connection, [taken], seconds=0.0)
        assert (await due.window_of(connection, "default", most=100)).sent == 0
    assert (await take(world, lease=60.0)).keys == taken.keys


async def test_what_is_overdue_still_counts_as_sent_while_it_is_looked_for(world: World) -> None:
    """Or two relays that look at once would each take the window for empty, and fill it."""
    await world.store(3)
    taken = await take(world, lease=-1.0)
    async with transaction(world.engine) as connection:
        window = await due.window_of(connection, "default", most=100)
        assert window == due.Window(sent=3, oldest=taken.at, overdue=True)
        await due.put_back(connection, [taken], seconds=0.0)
        assert await due.window_of(connection, "default", most=100) == due.Window(sent=0, oldest=None, overdue=False)


async def test_a_relay_that_comes_late_changes_nothing_of_what_another_has_taken_since(world: World) -> None:
    await world.store(3)
    first = await take(world, lease=-1.0)
    second = await take(world, lease=60.0)
    assert first.keys == second.keys
    async with transaction(world.engine) as connection:
        assert await due.keep_published(connection, [first], seconds=600.0) == 0
        await due.put_back(connection, [first], seconds=0.0)
    assert 50 < await seconds_to_publishing(world) <= 60
    async with transaction(world.engine) as connection:
        assert await due.keep_published(connection, [first, second], seconds=600.0) == 3
    assert 590 < await seconds_to_publishing(world) <= 600


async def test_what_is_overdue_is_kept_by_who_has_looked_for_it_alone(world: World) -> None:
    await world.store(3)
    taken = await take(world, lease=-1.0)
    async with transaction(world.engine) as connection:
        assert await due.keep_published(connection, [taken], seconds=600.0) == 0
        assert await due.keep_published(connection, [taken], seconds=600.0, overdue=True) == 3


async def test_what_was_claimed_is_not_kept(world: World) -> None:
    run_ids = await world.store(3)
    taken = await take(world, lease=60.0)
    await world.claim(await world.lease(seconds=60.0), run_ids[:2])
    async with transaction(world.engine) as connection:
        assert await due.keep_published(connection, [taken], seconds=600.0) == 1


async def test_one_relay_at_a_time_takes_from_a_queue_and_another_from_the_next(world: World) -> None:
    async with transaction(world.engine) as one, transaction(world.engine) as other:
        assert await due.take_turn(one, "default")
        assert not await due.take_turn(other, "default")
        assert await due.take_turn(other, "slow")
    async with transaction(world.engine) as connection:
        assert await due.take_turn(connection, "default")


async def test_publishing_again_leaves_out_what_is_claimed_done_or_not_sent(world: World) -> None:
    run_ids = await world.store(4)
    await take(world, lease=60.0)
    await world.store(2)
    await world.claim(await world.lease(seconds=60.0), run_ids[:1])
    async with transaction(world.engine) as connection:
        assert await due.republish_window(connection) == 3
        assert await due.republish_window(connection) == 0
    assert len((await take(world, lease=60.0)).keys) == 5


async def test_the_queues_with_work_and_the_next_moment_are_told_for_any_number_of_queues(world: World) -> None:
    for queue in ("a", "b", "c"):
        await world.store(2, queue=queue)
    async with transaction(world.engine) as connection:
        await connection.execute(text("UPDATE runs SET publish_at = now() + interval '90 seconds' WHERE queue = 'a'"))
        assert await due.queues_with_work(connection) == ["a", "b", "c"]
        late = await due.seconds_to_next(connection, ["a", "b"])
        later = await due.seconds_to_next(connection, ["a"])
        assert await due.seconds_to_next(connection, ["unknown"]) is None
    assert late is not None
    assert late < 0
    assert later is not None
    assert 80 < later <= 90
