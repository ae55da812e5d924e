import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from events import AttemptOutcome, QueueReason, RunStatus
from observability.metrics import Metrics
from storage import leases, outcomes
from storage.engine import transaction
from tests.support.relaying import TENANT, World, until
from tests.support.tcp_proxy import Mode, tcp_proxy

LEASE = 1.0


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(
        database_url=database_url, redis_url=redis_url, worker={"lease": LEASE}, relay={"poll_interval": 0.2}
    ) as world:
        yield world


async def run_row(world: World, run_id: UUID) -> Any:
    async with world.engine.connect() as connection:
        found = await connection.execute(
            text(
                "SELECT r.status, r.reason, r.deaths, r.attempt, r.lease_id, a.outcome, a.finished_at "
                "FROM runs r LEFT JOIN attempts a USING (tenant, run_id, attempt) WHERE run_id = :run_id"
            ),
            {"run_id": run_id},
        )
        return found.one()


async def test_the_runs_of_a_worker_that_stopped_renewing_are_sent_again(world: World) -> None:
    run_ids = await world.store(5)
    holder = await world.lease(seconds=LEASE)
    assert len(await world.claim(holder, run_ids)) == 5
    registry = CollectorRegistry()
    async with world.relay(metrics=Metrics(registry)):
        await until(lambda: sorted(world.sent()) == sorted(run_ids), within=8.0)
    for run_id in run_ids:
        row = await run_row(world, run_id)
        assert (row.status, row.reason, row.deaths, row.attempt) == (RunStatus.QUEUED, QueueReason.RESCUED, 1, 1)
        assert row.outcome == AttemptOutcome.LOST
        assert row.finished_at is not None
    assert registry.get_sample_value("throughline_leases_expired_total") == 1
    assert registry.get_sample_value("throughline_runs_total", {"pipeline": "p", "outcome": "rescued"}) == 5


async def test_what_a_dead_worker_had_fetched_and_not_claimed_is_sent_again_when_its_lease_ends(world: World) -> None:
    run_ids = await world.store(40)
    async with world.relay(relay={"take_lease": 60.0, "republish_after": 60.0}):
        await until(lambda: len(world.sent()) == len(run_ids))
        fetched = world.fetch()
        assert fetched
        await world.lease(seconds=LEASE)
        await until(lambda: Counter(world.sent()) == Counter(run_ids), within=8.0)


async def test_the_runs_of_a_worker_that_renews_stay_its_own(world: World) -> None:
    (kept,) = await world.store()
    (lost,) = await world.store()
    renewing, silent = await world.lease(seconds=LEASE), await world.lease(seconds=LEASE)
    await world.claim(renewing, [kept])
    await world.claim(silent, [lost])
    async with world.relay():

        async def renewed_until_the_other_is_rescued() -> bool:
            async with transaction(world.engine) as connection:
                assert await leases.renew_lease(connection, lease_id=renewing, seconds=LEASE)
            return bool((await run_row(world, lost)).status == RunStatus.QUEUED)

        await until(renewed_until_the_other_is_rescued, within=8.0)
    row = await run_row(world, kept)
    assert (row.status, row.deaths, row.lease_id) == (RunStatus.RUNNING, 0, renewing)


async def test_after_rescue_the_old_worker_can_write_nothing_and_claim_nothing(world: World) -> None:
    (run_id,) = await world.store()
    holder = await world.lease(seconds=LEASE)
    (old,) = await world.claim(holder, [run_id])
    async with world.relay():
        await until(lambda: world.sent() == [run_id], within=8.0)
    assert await world.claim(holder, [run_id]) == []
    late = outcomes.Finish(
        tenant=TENANT,
        run_id=run_id,
        attempt=old.attempt,
        status=RunStatus.SUCCEEDED,
        outcome=AttemptOutcome.SUCCEEDED,
    )
    async with transaction(world.engine) as connection:
        assert await outcomes.finish_runs(connection, [late]) == {}
        assert not await leases.renew_lease(connection, lease_id=holder, seconds=LEASE)
    (new,) = await world.claim(await world.lease(seconds=60), [run_id])
    assert new.attempt == old.attempt + 1
    async with transaction(world.engine) as connection:
        assert await outcomes.finish_runs(connection, [late]) == {}
    assert (await run_row(world, run_id)).status == RunStatus.RUNNING


async def test_runs_that_a_dying_rescuer_left_behind_are_freed_by_the_next(world: World) -> None:
    (run_id,) = await world.store()
    holder = await world.lease(seconds=60)
    await world.claim(holder, [run_id])
    async with transaction(world.engine) as connection:
        await connection.execute(
            text("UPDATE worker_leases SET ended_at = now() - interval '30 seconds' WHERE lease_id = :lease_id"),
            {"lease_id": holder},
        )
    async with world.relay():
        await until(lambda: world.sent() == [run_id], within=8.0)
    assert (await run_row(world, run_id)).deaths == 1


async def test_a_worker_that_stops_has_time_to_hand_its_runs_back(world: World) -> None:
    (run_id,) = await world.store()
    holder = await world.lease(seconds=60)
    await world.claim(holder, [run_id])
    async with transaction(world.engine) as connection:
        await leases.end_lease(connection, holder)
    async with world.engine.connect() as connection:
        assert await leases.orphaned_leases(connection, grace=10.0) == []
        assert await leases.orphaned_leases(connection) == [holder]
    async with transaction(world.engine) as connection:
        (freed,) = await leases.free_runs(connection, [holder], died=False)
    assert (freed.run_id, freed.lease_id, freed.attempt) == (run_id, holder, 1)
    row = await run_row(world, run_id)
    assert (row.reason, row.deaths, row.outcome) == (QueueReason.HANDED_BACK, 0, AttemptOutcome.HANDED_BACK)


async def test_after_postgresql_was_away_rescue_waits_one_lease(database_url: str, redis_url: str) -> None:
    """Nobody could renew meanwhile: the worker that does so first thing keeps its runs."""
    async with (
        tcp_proxy(database_url) as proxy,
        World(
            database_url=database_url, redis_url=redis_url, worker={"lease": 3.0}, relay={"poll_interval": 0.2}
        ) as world,
    ):
        (run_id,) = await world.store()
        holder = await world.lease(seconds=3.0)
        await world.claim(holder, [run_id])
        through = {"url": type(world.settings.database.url)(proxy.url)}
        async with world.relay(database=through):
            listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'throughline-relay-listen'"
            await until(lambda: world.value(listening))
            proxy.switch(Mode.REFUSE)
            await until(lambda: world.value("SELECT count(*) FROM worker_leases WHERE expires_at < now()"), within=8.0)
            proxy.switch(Mode.PASS)
            await until(lambda: world.value(listening), within=8.0)
            (later,) = await world.store()
            await until(lambda: world.sent() == [later], within=8.0)
            await asyncio.sleep(0.5)
            async with transaction(world.engine) as connection:
                assert await leases.renew_lease(connection, lease_id=holder, seconds=60)
            row = await run_row(world, run_id)
            assert (row.status, row.deaths) == (RunStatus.RUNNING, 0)
