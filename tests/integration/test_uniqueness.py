import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from events import ErrorInfo, Failed, FailureKind, Retry, Succeeded
from storage import cancels
from storage.engine import transaction
from storage.policies import RunPolicy
from tests.support.admitting import Gate, limited
from tests.support.relaying import TENANT, World, until

ONE = RunPolicy(unique_key="a")
ERROR = ErrorInfo(type="ValueError", message="no")


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


@pytest.fixture
async def gate(world: World) -> AsyncIterator[Gate]:
    gate = Gate(world)
    yield gate
    await gate.close()
    await gate.check()


async def told(world: World, run_id: UUID) -> tuple[str, str | None]:
    async with world.engine.connect() as connection:
        row: Any = (
            await connection.execute(
                text("SELECT status, cancel_reason FROM runs WHERE run_id = :run_id"), {"run_id": run_id}
            )
        ).one()
    return row.status, row.cancel_reason


def by(run_id: UUID) -> tuple[str, str]:
    return "cancelled", f"superseded: run {run_id} has the same key and has not ended"


async def test_of_runs_with_one_key_the_first_goes_and_the_others_are_cancelled_naming_it(
    world: World, gate: Gate
) -> None:
    first, *others = await world.store(3, policy=ONE)
    (alone,) = await world.store(1, policy=RunPolicy(unique_key="b"))
    assert await gate.once() == 2
    assert [await told(world, run_id) for run_id in others] == [by(first)] * 2
    assert await told(world, alone) == ("queued", None)
    assert len(await gate.claim([first, alone])) == 2
    assert gate.registry.get_sample_value("throughline_superseded_runs_total", {"pipeline": "p"}) == 2


async def test_a_key_is_a_pipelines_own(world: World, gate: Gate) -> None:
    await world.store(1, policy=ONE)
    await world.store(1, policy=ONE, pipeline="q")
    assert await gate.once() == 2


async def test_nothing_is_published_before_its_key_was_looked_at(world: World) -> None:
    run_ids = await world.store(3, policy=ONE)
    async with world.relay():
        await until(lambda: world.sent() == run_ids[:1])
        await until(lambda: cancelled(world, 2))


async def cancelled(world: World, count: int) -> bool:
    return bool(await world.value("SELECT count(*) = :count FROM runs WHERE status = 'cancelled'", count=count))


async def test_a_key_is_free_again_when_its_run_has_ended(world: World, gate: Gate) -> None:
    (first,) = await world.store(1, policy=ONE)
    await gate.once()
    await gate.succeed([first])
    (second,) = await world.store(1, policy=ONE)
    assert await gate.once() == 1
    assert await told(world, second) == ("queued", None)


async def test_a_run_that_waits_for_another_try_keeps_its_key(world: World, gate: Gate) -> None:
    (first,) = await world.store(1, policy=ONE)
    await gate.once()
    await world.finish(await gate.claim([first]), Retry(delay=0.0, error=ERROR))
    (second,) = await world.store(1, policy=ONE)
    await gate.once()
    assert await told(world, second) == by(first)
    (claimed,) = await gate.claim([first])
    await world.finish([claimed], Failed(kind=FailureKind.ERROR, error=ERROR))


async def test_a_run_that_was_let_through_is_never_cancelled_for_one_made_before_it_that_came_later(
    world: World, gate: Gate
) -> None:
    early, late = await world.store(2, policy=ONE)
    async with transaction(world.engine) as connection:
        await connection.execute(
            text("UPDATE runs SET available_at = now() + interval '1 hour', unique_key = 'x' WHERE run_id = :id"),
            {"id": early},
        )
    assert await gate.once() == 1
    async with transaction(world.engine) as connection:
        await connection.execute(
            text("UPDATE runs SET available_at = now(), unique_key = 'a' WHERE run_id = :id"), {"id": early}
        )
    await gate.once()
    assert await told(world, early) == by(late)
    assert await told(world, late) == ("queued", None)


async def test_an_older_run_that_is_cancelled_leaves_the_place_to_the_next(world: World, gate: Gate) -> None:
    first, second = await world.store(2, policy=ONE)
    async with transaction(world.engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[first], reason="no")
    await gate.once()
    assert await told(world, second) == ("queued", None)


async def test_two_relays_let_one_run_of_a_key_through(world: World, gate: Gate) -> None:
    other = Gate(world)
    for _ in range(5):
        await asyncio.gather(world.store(7, policy=ONE), gate.once(), world.store(7, policy=ONE), other.once())
        await asyncio.gather(gate.once(), other.once())
        await gate.once()
        assert await world.value("SELECT count(*) FROM runs WHERE status = 'queued'") == 1
        running = await world.value("SELECT run_id FROM runs WHERE status = 'queued'")
        (claimed,) = await gate.claim([running])
        await world.finish([claimed], Succeeded())
    await other.close()


async def test_a_run_with_limits_too_is_cancelled_while_its_lane_is_full(world: World, gate: Gate) -> None:
    both = limited(concurrency=1)._replace(unique_key="a")
    first, second = await world.store(2, policy=both)
    await gate.once()
    assert await gate.admitted() == [first]
    assert await told(world, second) == by(first)
    await gate.succeed([first])


async def test_a_backlog_of_one_key_is_worked_off(world: World, gate: Gate) -> None:
    for _ in range(4):
        await world.store(500, policy=ONE)
    while await world.value("SELECT count(*) > 1 FROM runs WHERE status = 'queued'"):
        await gate.once()
    assert await world.value("SELECT count(*) FROM runs WHERE status = 'cancelled'") == 1999
