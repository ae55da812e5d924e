"""Statements that meet on the same rows: they wait for one another, miss nothing and never deadlock."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from events import AttemptOutcome, NodeStatus, QueueReason, RunStatus
from observability.metrics import null_metrics
from storage import claims, due, leases, outcomes
from storage.engine import transaction
from storage.records import ClaimedRun, NodeResult
from tests.support.relaying import TENANT, World
from worker.database import Database
from worker.giving_back import GivingBack

Held = tuple[UUID, int]


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url, database={"pool_size": 40}) as world:
        yield world


def node(run_id: UUID, attempt: int, name: str) -> outcomes.NodeWrite:
    result = NodeResult(
        node=name,
        item=0,
        attempt=attempt,
        status=NodeStatus.SUCCEEDED,
        output=None,
        error=None,
        started_at=datetime.now(UTC),
        duration_seconds=0.1,
        span_id=None,
    )
    return outcomes.NodeWrite(tenant=TENANT, run_id=run_id, attempt=attempt, result=result, output="1", error=None)


def retried(run_id: UUID, attempt: int) -> outcomes.Finish:
    return outcomes.Finish(
        tenant=TENANT,
        run_id=run_id,
        attempt=attempt,
        status=RunStatus.QUEUED,
        outcome=AttemptOutcome.RETRIED,
        reason=QueueReason.RETRY,
        spent=1,
        nodes=(node(run_id, attempt, "last"),),
    )


async def until_somebody_waits(world: World) -> None:
    """Until a transaction of this database waits for a row that another one has locked."""
    async with asyncio.timeout(10):
        while not await world.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)


async def claimed(world: World, count: int = 1) -> tuple[UUID, list[ClaimedRun]]:
    lease_id = await world.lease(seconds=60)
    return lease_id, await world.claim(lease_id, await world.store(count))


async def test_a_checkpoint_and_a_stop_that_write_the_same_nodes_never_deadlock(world: World) -> None:
    """A stop writes what is not known to be written yet, which a checkpoint under way may be writing."""
    _, runs = await claimed(world, 40)

    async def write(nodes: list[outcomes.NodeWrite]) -> None:
        async with transaction(world.engine) as connection:
            await outcomes.write_nodes(connection, nodes)

    for number in range(15):
        nodes = [node(run.run_id, run.attempt, f"n{number}") for run in runs]
        await asyncio.gather(write(nodes), write(nodes[::-1]), write(random.sample(nodes, len(nodes))))


async def test_branches_of_a_run_that_end_together_bring_the_same_results_along(world: World) -> None:
    """They ride with the first write that is made, and each of two knows of no other."""
    (run_id,) = await world.store()
    await world.claim(await world.lease(seconds=600), [run_id])
    before, left, right = (node(run_id, 1, name) for name in ("before", "left", "right"))
    async with transaction(world.engine) as connection:
        assert await outcomes.write_nodes(connection, [before, left, before, right]) == {(run_id, 1)}
    assert await world.value("SELECT array_agg(node ORDER BY node) FROM node_results") == ["before", "left", "right"]


async def test_a_run_that_a_write_has_locked_is_given_back_all_the_same(world: World) -> None:
    """Passed over, it would lie there until a relay looks for what was left behind, and count as a death."""
    lease_id, [run] = await claimed(world)
    database = Database(world.settings.database, application="test", pool_size=1)
    async with transaction(world.engine) as writing:
        await outcomes.write_nodes(writing, [node(run.run_id, run.attempt, "first")])
        giving_back = asyncio.create_task(GivingBack(database, null_metrics()).lease(lease_id, within=30))
        await until_somebody_waits(world)
    await giving_back
    await database.close()
    assert await world.value("SELECT status || ' ' || reason || ' ' || deaths FROM runs") == "queued handed_back 0"


async def test_a_lost_message_is_sent_again_also_when_its_run_was_being_kept_just_then(world: World) -> None:
    await world.store()
    async with transaction(world.engine) as connection:
        taken, _ = await due.take_due(connection, "default", most=10, lease=15)

    async def republish() -> int:
        async with transaction(world.engine) as connection:
            return await due.republish_window(connection)

    async with transaction(world.engine) as keeping:
        assert await due.keep_published(keeping, [taken], seconds=60) == 1
        republishing = asyncio.create_task(republish())
        await until_somebody_waits(world)
    assert await republishing == 1
    assert await world.value("SELECT count(*) FROM runs WHERE publish_at <= now()") == 1


class Crowd:
    """Workers, relays and rescuers that do at random whatever they do, to the same few runs."""

    def __init__(self, world: World, run_ids: list[UUID], lease_ids: list[UUID]) -> None:
        self._world = world
        self._run_ids = run_ids
        self._lease_ids = lease_ids
        self._held: set[Held] = set()
        self._taken: list[due.Taken] = []
        self.finished: list[Held] = []

    async def act(self, count: int) -> None:
        acts: list[Callable[[AsyncConnection], object]] = [
            *[self._claim, self._checkpoint, self._finish, self._take] * 3,
            *[self._free, self._keep, self._put_back, self._defer, self._release],
            *[leases.end_expired_leases, due.republish_window],
        ]
        for _ in range(count):
            act = random.choice(acts)
            async with transaction(self._world.engine) as connection:
                found = act(connection)
                if asyncio.iscoroutine(found):
                    await found
                await asyncio.sleep(0)

    def _some(self, count: int) -> list[UUID]:
        return random.sample(self._run_ids, count)

    def _some_held(self) -> list[Held]:
        return random.sample(sorted(self._held), min(10, len(self._held)))

    async def _claim(self, connection: AsyncConnection) -> None:
        run_ids = self._some(10)
        asked = claims.Claim(
            tenant=TENANT,
            run_ids=run_ids,
            span_ids=[None] * len(run_ids),
            lease_id=random.choice(self._lease_ids),
            task_id=None,
        )
        self._held |= {(run.run_id, run.attempt) for run in await claims.claim_runs(connection, asked)}

    async def _checkpoint(self, connection: AsyncConnection) -> None:
        nodes = [node(run_id, attempt, name) for run_id, attempt in self._some_held() for name in "ba"]
        await outcomes.write_nodes(connection, nodes)

    async def _finish(self, connection: AsyncConnection) -> None:
        self.finished += await outcomes.finish_runs(connection, [retried(*held) for held in self._some_held()])

    async def _take(self, connection: AsyncConnection) -> None:
        taken, _ = await due.take_due(connection, "default", most=10, lease=random.choice([0.0, 1.0]))
        self._taken = [*self._taken[-20:], taken]

    async def _keep(self, connection: AsyncConnection) -> None:
        await due.keep_published(connection, random.sample(self._taken, min(3, len(self._taken))), seconds=0.0)

    async def _put_back(self, connection: AsyncConnection) -> None:
        await due.put_back(connection, random.sample(self._taken, min(3, len(self._taken))), seconds=0.0)

    async def _defer(self, connection: AsyncConnection) -> None:
        await claims.defer_runs(connection, tenant=TENANT, run_ids=self._some(5), delay=0.0, reason="unknown_pipeline")

    async def _release(self, connection: AsyncConnection) -> None:
        await claims.release_runs(connection, tenant=TENANT, run_ids=self._some(5))

    async def _free(self, connection: AsyncConnection) -> None:
        """As a process that stops does: it ends its lease, and after that commit frees what is left."""
        place = random.randrange(len(self._lease_ids))
        ending, self._lease_ids[place] = self._lease_ids[place], await self._world.lease(seconds=60)
        async with transaction(self._world.engine) as ends:
            await leases.end_lease(ends, ending)
        await leases.free_runs(connection, [ending], died=random.random() < 0.5, wait=random.random() < 0.5)


async def test_everything_at_once_deadlocks_never_and_leaves_every_run_whole(world: World) -> None:
    crowd = Crowd(world, await world.store(25), [await world.lease(seconds=60) for _ in range(4)])
    await asyncio.gather(*(crowd.act(40) for _ in range(16)))

    assert len(crowd.finished) == len(set(crowd.finished)) > 0
    broken = """
        SELECT count(*) FROM runs r
        WHERE attempt <> (SELECT count(*) FROM attempts a WHERE a.run_id = r.run_id)
           OR (status = 'running')::int
              <> (SELECT count(*) FROM attempts a WHERE a.run_id = r.run_id AND a.outcome IS NULL)
           OR errors <> (SELECT count(*) FROM attempts a WHERE a.run_id = r.run_id AND a.outcome = 'retried')
           OR deaths <> (SELECT count(*) FROM attempts a WHERE a.run_id = r.run_id AND a.outcome = 'lost')
    """
    assert await world.value(broken) == 0
