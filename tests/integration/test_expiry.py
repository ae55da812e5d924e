from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from events import ErrorInfo, Retry, RunStatus
from observability.metrics import Metrics
from storage.engine import transaction
from storage.expiry import expire_runs
from storage.policies import RunPolicy
from storage.runs import get_run
from tests.support.admitting import Gate, limited
from tests.support.relaying import TENANT, World, until

OVER = RunPolicy(ttl=0.0)
ERROR = ErrorInfo(type="ValueError", message="no")


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


@pytest.fixture(autouse=True)
async def gate(world: World) -> AsyncIterator[Gate]:
    gate = Gate(world)
    yield gate
    await gate.close()
    await gate.check()


async def expired(world: World) -> list[UUID]:
    async with transaction(world.engine) as connection:
        return [run.run_id for run in await expire_runs(connection, most=100)]


async def test_a_run_that_has_not_begun_in_time_fails_and_is_seen_as_every_failed_run(world: World) -> None:
    registry = CollectorRegistry()
    (run_id,) = await world.store(1, policy=RunPolicy(ttl=0.001))
    await world.store(1, policy=RunPolicy(ttl=3600.0))
    async with world.relay(metrics=Metrics(registry)):
        await until(lambda: failed(world, 1))
    async with world.engine.connect() as connection:
        story = await get_run(connection, tenant=TENANT, run_id=run_id)
    assert story is not None
    run = story.run
    assert (run.status, run.failure_kind, run.attempt) == (RunStatus.FAILED, "expired", 0)
    assert run.error == {"type": "Expired", "message": "it had 0.001 seconds to begin, and did not"}
    assert registry.get_sample_value("throughline_expired_runs_total", {"pipeline": "p"}) == 1
    assert registry.get_sample_value("throughline_runs_total", {"pipeline": "p", "outcome": "failed"}) == 1


async def failed(world: World, count: int) -> bool:
    return bool(await world.value("SELECT count(*) = :count FROM runs WHERE status = 'failed'", count=count))


async def test_a_claim_never_begins_a_run_whose_time_is_over(world: World, gate: Gate) -> None:
    over, left = await world.store(1, policy=OVER), await world.store(1, policy=RunPolicy(ttl=3600.0))
    assert [run.run_id for run in await gate.claim(over + left)] == left
    assert await expired(world) == over


async def test_a_run_that_has_begun_once_does_not_expire(world: World, gate: Gate) -> None:
    (run_id,) = await world.store(1, policy=RunPolicy(ttl=3600.0))
    await world.finish(await gate.claim([run_id]), Retry(delay=0.0, error=ERROR))
    async with transaction(world.engine) as connection:
        await connection.exec_driver_sql("UPDATE runs SET expires_at = now() - interval '1 hour'")
    assert await expired(world) == []
    assert len(await gate.claim([run_id])) == 1


async def test_a_run_that_waits_for_permits_expires_like_any_other(world: World, gate: Gate) -> None:
    (first,) = await world.store(1, policy=limited(concurrency=1))
    (second,) = await world.store(1, policy=limited(concurrency=1)._replace(ttl=0.0))
    await gate.once()
    assert await expired(world) == [second]
    await gate.succeed([first])
    assert await gate.once() == 0


async def test_permits_are_given_to_none_whose_time_is_over(world: World, gate: Gate) -> None:
    await world.store(1, policy=limited(concurrency=1)._replace(ttl=0.0))
    assert await gate.once() == 0
    assert await gate.good() == 0
