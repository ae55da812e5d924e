import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from events import AttemptOutcome, FailureKind, RunStatus
from observability.metrics import null_metrics
from settings import DatabaseSettings
from storage import leases
from storage.engine import transaction
from storage.outcomes import Finish
from tests.support.relaying import TENANT, World, until
from tests.support.tcp_proxy import Mode, tcp_proxy
from worker.claiming import Claims
from worker.database import Database
from worker.giving_back import GivingBack
from worker.held import Claimed, HeldRuns
from worker.lease import LeaseKeeper
from worker.message import Message
from worker.writes import Writes

ERROR = "TooBad"
PATIENCE = 0.5
"""Seconds that a statement may take here."""


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(
        database_url=database_url, redis_url=redis_url, database={"pool_size": 10, "statement_timeout": PATIENCE}
    ) as world:
        yield world


class Process:
    """What of a worker process claims and writes."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.database = Database(settings, application="test-worker")
        self.giving_back = GivingBack(self.database, null_metrics())
        self.keeper = LeaseKeeper(
            self.database,
            worker="worker-1",
            seconds=60.0,
            on_lost=lambda: None,
            hand_back=self.giving_back.lease,
            on_refused=lambda: None,
        )
        self.claims = Claims(self.database, self.keeper, HeldRuns())
        self.writes = Writes(self.database)

    async def claim(self, run_ids: list[UUID], *, tenant: str = TENANT) -> list[Claimed]:
        """Claim for a message of its own."""
        message = Message(tenant=tenant, pipeline="p", run_ids=tuple(run_ids), queue="default", task_id="task")
        return await self.claims.claim(message, run_ids)

    async def fail(self, claimed: Claimed) -> RunStatus:
        """Finish a run as failed; tell where it went."""
        finish = Finish(
            tenant=TENANT,
            run_id=claimed.run.run_id,
            attempt=claimed.run.attempt,
            status=RunStatus.FAILED,
            outcome=AttemptOutcome.FAILED,
            kind=FailureKind.ERROR,
            error=json.dumps({"type": ERROR, "message": "no more"}),
        )
        return (await self.writes.finish(finish)).status


@asynccontextmanager
async def process(settings: DatabaseSettings) -> AsyncIterator[Process]:
    made = Process(settings)
    made.keeper.start()
    made.claims.start()
    made.writes.start()
    await made.keeper.held()
    try:
        yield made
    finally:
        made.keeper.close()
        await made.claims.close()
        await made.writes.close()
        await made.database.close()


@asynccontextmanager
async def locked(url: str, run_id: UUID) -> AsyncIterator[None]:
    """Hold a run's row, as an operator's open transaction does."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM runs WHERE run_id = $1 FOR UPDATE", run_id)
            yield
    finally:
        await connection.close()


def ids(claimed: list[Claimed]) -> list[UUID]:
    return [one.run.run_id for one in claimed]


async def test_a_message_that_postgresql_refuses_fails_alone(world: World) -> None:
    run_ids = await world.store(5)
    async with process(world.settings.database) as worker:
        good = [asyncio.create_task(worker.claim([run_id])) for run_id in run_ids]
        bad = asyncio.create_task(worker.claim(run_ids[:1], tenant="a\0b"))
        async with asyncio.timeout(10):
            assert [ids(await one) for one in good] == [[run_id] for run_id in run_ids]
            with pytest.raises(DBAPIError):
                await bad


async def test_a_queued_run_that_somebody_locks_holds_up_no_other_claim(world: World, database_url: str) -> None:
    run_ids = await world.store(8)
    async with process(world.settings.database) as worker:
        async with locked(database_url, run_ids[0]):
            claims = [asyncio.create_task(worker.claim([run_id])) for run_id in run_ids]
            async with asyncio.timeout(10):
                assert [ids(await one) for one in claims[1:]] == [[run_id] for run_id in run_ids[1:]]
            assert not claims[0].done()
        async with asyncio.timeout(10):
            assert ids(await claims[0]) == run_ids[:1]


async def test_a_running_run_that_somebody_locks_holds_up_no_other_finish(world: World, database_url: str) -> None:
    run_ids = await world.store(8)
    async with process(world.settings.database) as worker:
        claimed = await worker.claim(run_ids)
        async with locked(database_url, claimed[0].run.run_id):
            finishes = [asyncio.create_task(worker.fail(one)) for one in claimed]
            async with asyncio.timeout(10):
                assert await asyncio.gather(*finishes[1:]) == [RunStatus.FAILED] * 7
            assert not finishes[0].done()
        async with asyncio.timeout(10):
            assert await finishes[0] is RunStatus.FAILED


async def test_a_finish_whose_answer_was_lost_is_found_to_have_gone_through(world: World, database_url: str) -> None:
    run_ids = await world.store(1)
    async with tcp_proxy(database_url) as proxy:
        settings = DatabaseSettings.model_validate({"url": proxy.url})
        async with process(settings) as worker:
            [claimed] = await worker.claim(run_ids)
            proxy.lose_answer_to(ERROR.encode())
            finishing = asyncio.create_task(worker.fail(claimed))
            await until(lambda: proxy.mode is Mode.REFUSE)
            assert await world.value("SELECT status FROM runs") == "failed"
            proxy.switch(Mode.PASS)
            async with asyncio.timeout(10):
                assert await finishing is RunStatus.FAILED


async def test_a_lease_that_is_given_back_takes_along_what_is_being_claimed_under_it(
    world: World, database_url: str
) -> None:
    """The claim is committed only while the lease is being ended, by a caller that has gone."""
    run_ids = await world.store(3)
    async with process(world.settings.database.model_copy(update={"statement_timeout": 10.0})) as worker:
        lease_id = await worker.keeper.held()
        async with locked(database_url, run_ids[0]):
            claiming = asyncio.create_task(worker.claim(run_ids))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            await until(lambda: world.value(waits))
            claiming.cancel()
            giving_back = asyncio.create_task(worker.giving_back.lease(lease_id, within=8.0))
            await until(lambda: _is_two(world.value(waits)))
        async with asyncio.timeout(10):
            await giving_back
    states = "SELECT count(*) FROM runs WHERE status = 'queued' AND reason = 'handed_back' AND deaths = 0"
    assert await world.value(states) == 3
    async with transaction(world.engine) as connection:
        assert await leases.orphaned_leases(connection) == []


async def _is_two(waiting: object) -> bool:
    return await waiting == 2  # type: ignore[misc]
