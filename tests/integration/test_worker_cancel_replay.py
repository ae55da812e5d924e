import time
from pathlib import Path
from uuid import UUID

import pytest

from events import AttemptOutcome, QueueReason, RunStatus, new_id
from storage.cancels import request_cancel
from storage.engine import transaction
from storage.replays import From, Replay, replay_runs
from storage.runs import get_run
from tests.support.working import TENANT, Sent, Workshop, until, workshop

pytestmark = pytest.mark.verify


async def cancel(shop: Workshop, sent: Sent, *, reason: str = "not needed") -> RunStatus | None:
    async with transaction(shop.engine) as connection:
        answer = await request_cancel(connection, tenant=TENANT, run_ids=[sent.run_id], reason=reason)
    return answer.get(sent.run_id)


async def replay(shop: Workshop, sent: Sent, begin: From | None = None) -> Sent:
    asked = Replay(origin=sent.run_id, run_id=new_id(), pipeline_version=1, queue="default", traceparent=None)
    async with transaction(shop.engine) as connection:
        made = await replay_runs(connection, tenant=TENANT, replays=[asked], begin=begin)
    return Sent(event_id=sent.event_id, run_id=made[sent.run_id])


async def status(shop: Workshop, run_id: UUID) -> RunStatus:
    async with shop.engine.connect() as connection:
        story = await get_run(connection, tenant=TENANT, run_id=run_id)
    assert story is not None
    return story.run.status


async def under_way(shop: Workshop, sent: Sent, node: str) -> None:
    await until(lambda: node in [call.node for call in shop.calls(sent)], what=f"{node} is called")


@pytest.mark.parametrize("pool", ["threads", "prefork"])
async def test_a_running_run_is_cancelled_within_two_seconds_and_its_neighbour_goes_on(
    database_url: str, redis_url: str, tmp_path: Path, pool: str
) -> None:
    async with workshop(
        database_url,
        redis_url,
        tmp_path,
        THROUGHLINE_WORKER_POOL=pool,
        THROUGHLINE_WORKER_CONCURRENCY="2",
        THROUGHLINE_WORKER_SLOTS="4",
    ) as shop:
        worker = await shop.worker()
        [sent] = await shop.store("steady", sleep=60)
        [neighbour] = await shop.store("steady", sleep=4)
        shop.publish("steady", [sent])
        shop.publish("steady", [neighbour])
        await under_way(shop, sent, "slow")
        await under_way(shop, neighbour, "slow")
        asked = time.monotonic()
        assert await cancel(shop, sent) is RunStatus.RUNNING
        run = await shop.ended(sent, seconds=2.0)
        assert time.monotonic() - asked < 2.0

        assert (run.status, run.cancel_reason) == (RunStatus.CANCELLED, "not needed")
        assert [attempt.outcome for attempt in run.attempts] == [AttemptOutcome.CANCELLED]
        assert [node.node for node in run.nodes] == ["first"]
        assert [call.node for call in shop.calls(sent)] == ["first", "slow"]
        assert (await shop.ended(neighbour)).status is RunStatus.SUCCEEDED
        lines = {line["run_id"]: line["outcome"] for line in worker.logged("run ended")}
        assert lines == {str(sent.run_id): "cancelled", str(neighbour.run_id): "succeeded"}


async def test_a_queued_run_is_cancelled_and_its_message_finds_nothing(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        [sent, other] = await shop.store("steady", 2)
        assert await cancel(shop, sent) is RunStatus.CANCELLED
        await shop.worker()
        shop.publish("steady", [sent, other])
        assert (await shop.ended(other)).status is RunStatus.SUCCEEDED
        assert (await shop.run(sent)).status is RunStatus.CANCELLED
        assert shop.calls(sent) == []


async def test_a_node_in_a_thread_that_is_deaf_to_its_cancel_holds_up_nobody(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("computing", sleep=8)
        shop.publish("computing", [sent])
        await under_way(shop, sent, "compute")
        await cancel(shop, sent)
        assert (await shop.ended(sent, seconds=5.0)).status is RunStatus.CANCELLED


async def test_a_replay_from_a_node_does_not_call_the_nodes_before_it(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("steady")
        shop.publish("steady", [sent])
        await shop.ended(sent)

        again = await replay(shop, sent, From(node="slow", kept=frozenset({"first"})))
        shop.publish("steady", [again])
        await until(lambda: _ended(shop, again), what="the replay ends")
        assert [call.node for call in shop.calls(again)] == ["slow", "last"]
        async with shop.engine.connect() as connection:
            story = await get_run(connection, tenant=TENANT, run_id=again.run_id)
        assert story is not None
        assert (story.run.replay_of, story.run.replay_from) == (sent.run_id, "slow")
        assert [(node.node, node.attempt) for node in story.run.nodes] == [("first", 0), ("slow", 1), ("last", 1)]


async def test_a_replay_of_a_whole_run_calls_every_node_again(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("steady", fail_attempts=3)
        for attempt in (1, 2, 3):
            shop.publish("steady", [sent])
            await until(lambda a=attempt: _tried(shop, sent, a), what="the try is over")
        assert (await shop.run(sent)).status is RunStatus.FAILED

        again = await replay(shop, sent)
        shop.publish("steady", [again])
        await until(lambda: _queued_again(shop, again), what="the replay is tried and fails as its origin did")
        assert [call.node for call in shop.calls(again)] == ["first", "slow"]
        assert await status(shop, sent.run_id) is RunStatus.FAILED


async def _ended(shop: Workshop, sent: Sent) -> bool:
    return await status(shop, sent.run_id) is RunStatus.SUCCEEDED


async def _tried(shop: Workshop, sent: Sent, attempt: int) -> bool:
    run = await shop.run(sent)
    return run.attempt == attempt and run.status is not RunStatus.RUNNING


async def _queued_again(shop: Workshop, sent: Sent) -> bool:
    async with shop.engine.connect() as connection:
        story = await get_run(connection, tenant=TENANT, run_id=sent.run_id)
    return story is not None and story.run.reason is QueueReason.RETRY
