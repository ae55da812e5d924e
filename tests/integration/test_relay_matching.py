from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from observability.metrics import Metrics
from storage.engine import transaction
from tests.support import waiting as do
from tests.support.relaying import World, until


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as made:
        yield made


async def a_waiting_run(world: World, *, order: str = "1") -> UUID:
    (started,) = await do.start(world.engine, order=order)
    await do.finish(world.engine, do.waiting(started, order=order))
    return started.run_id


async def test_a_run_is_published_when_its_event_comes_and_not_before(world: World) -> None:
    run_id = await a_waiting_run(world)
    async with world.relay(relay={"poll_interval": 30.0}):
        await until(lambda: world.value("SELECT count(*) = 1 FROM waits WHERE probed"))
        assert world.sent() == []
        await do.arrive(world.engine)
        await world.notify()
        await until(lambda: world.sent() == [run_id])


async def test_without_a_notification_the_next_poll_finds_it(world: World) -> None:
    async with world.relay(relay={"poll_interval": 0.2}):
        run_id = await a_waiting_run(world)
        await do.arrive(world.engine)
        await until(lambda: world.sent() == [run_id])


async def test_an_event_of_an_older_api_that_came_early_is_found_when_its_run_begins_to_wait(world: World) -> None:
    (started,) = await do.start(world.engine)
    event_id = await do.arrive(world.engine, keyed=False)
    async with world.relay():
        await do.finish(world.engine, do.waiting(started))
        await world.notify()
        await until(lambda: world.sent() == [started.run_id])
    assert (await do.stands(world.engine, started.run_id)).event_id == event_id


async def test_two_relays_publish_many_runs_whose_events_come_at_once_each_once(world: World) -> None:
    run_ids = [await a_waiting_run(world, order=str(number)) for number in range(60)]
    async with world.relay(relay={"poll_interval": 0.1}), world.relay(relay={"poll_interval": 0.1}):
        for number in range(len(run_ids)):
            await do.arrive(world.engine, order=str(number))
        await until(lambda: len(world.sent()) >= len(run_ids))
        await until(lambda: world.value("SELECT count(*) = 0 FROM event_keys WHERE NOT probed"))
    assert sorted(world.sent()) == sorted(run_ids)


async def test_the_metrics_tell_of_waiting_and_sleeping_runs_and_of_waits_that_ended(world: World) -> None:
    collectors = CollectorRegistry()
    await a_waiting_run(world)
    (started,) = await do.start(world.engine)
    await do.finish(world.engine, do.sleeping(started))

    def of(name: str, **labels: str) -> float | None:
        return collectors.get_sample_value(f"throughline_{name}", labels)

    async with world.relay(metrics=Metrics(collectors), relay={"poll_interval": 0.1}):
        await until(lambda: of("suspended_runs", queue="default", reason="waiting") == 1)
        assert of("suspended_runs", queue="default", reason="sleeping") == 1
        assert of("match_oldest_age_seconds") is not None
        await do.arrive(world.engine)
        await until(lambda: of("waits_ended_total", by="event") == 1)
        assert of("wait_match_seconds_count") == 1


async def test_what_nobody_has_looked_at_has_an_age(world: World) -> None:
    await do.arrive(world.engine)
    async with transaction(world.engine) as connection:
        await connection.execute(text("UPDATE event_keys SET received_at = now() - interval '100 s'"))
        assert await do.matching.oldest_age(connection) >= 100
    await do.look(world.engine)
    async with transaction(world.engine) as connection:
        assert await do.matching.oldest_age(connection) == 0
