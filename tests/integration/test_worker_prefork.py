import os
import signal
from pathlib import Path

import pytest

from events import AttemptOutcome, QueueReason, RunStatus
from observability.level_watch import Service
from storage.engine import transaction
from storage.log_levels import ask_level
from tests.support.working import Sent, Workshop, until, workshop

MARGIN = 4.5
"""Seconds a stop may take beyond the grace: a child waits one more second at its end, and the machine is busy."""

PREFORK = {
    "THROUGHLINE_WORKER_POOL": "prefork",
    "THROUGHLINE_WORKER_CONCURRENCY": "2",
    "THROUGHLINE_WORKER_LEASE": "3",
}


async def test_children_run_pipelines_each_under_a_lease_of_its_own(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **PREFORK) as shop:
        worker = await shop.worker()
        sent = await shop.store("steady", 4, sleep=0.5)
        for item in sent:
            shop.publish("steady", [item])

        assert {(await shop.ended(item)).status for item in sent} == {RunStatus.SUCCEEDED}
        children = {call.pid for call in shop.calls()}
        assert len(children) == 2
        assert worker.process.pid not in children
        assert await shop.scalar("SELECT count(*) FROM worker_leases") == 2


@pytest.mark.parametrize("pipeline", ["steady", "computing", "blocking"])
async def test_sigterm_gives_the_childrens_runs_back(
    database_url: str, redis_url: str, tmp_path: Path, pipeline: str
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **PREFORK) as shop:
        worker = await shop.worker()
        [sent] = await shop.store(pipeline, sleep=60)
        shop.publish(pipeline, [sent])
        await until(shop.calls, what="the run is under way")
        children = {call.pid for call in shop.calls()}
        worker.signal(signal.SIGTERM)

        assert await worker.ended(within=15) < 1 + MARGIN
        run = await shop.run(sent)
        assert (run.status, run.reason, run.deaths) == (RunStatus.QUEUED, QueueReason.HANDED_BACK, 0)
        assert await shop.scalar("SELECT bool_and(ended_at IS NOT NULL) FROM worker_leases")
        for pid in children:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_killed_child_costs_its_lease_and_the_run_resumes_elsewhere(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **PREFORK) as shop:
        await shop.worker()
        [sent] = await shop.store("steady", sleep=2)
        shop.publish("steady", [sent])
        await until(lambda: len(shop.calls()) == 2, what="the run is in its slow node")
        os.kill(shop.calls()[0].pid, signal.SIGKILL)
        await until(lambda: _lost(shop, sent), what="the dead child's lease ends and its run is freed")
        shop.publish("steady", [sent])
        run = await shop.ended(sent)

        assert (run.status, run.attempt, run.deaths) == (RunStatus.SUCCEEDED, 2, 1)
        assert [(call.node, call.attempt) for call in shop.calls(sent)] == [
            ("first", 1),
            ("slow", 1),
            ("slow", 2),
            ("last", 2),
        ]


async def test_the_parent_follows_its_childrens_log_level_also_after_redis_was_lost(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **PREFORK) as shop:
        worker = await shop.worker()
        shop.redis.client_kill_filter(skipme=True)
        await until(lambda: "Connection to broker lost" in worker.text, what="Celery sees that Redis is lost")
        async with transaction(shop.engine) as connection:
            await ask_level(connection, [Service.WORKER], level="DEBUG", seconds=600)

        def followed() -> bool:
            return {line["pid"] for line in worker.logged("log level changed")} > {worker.process.pid}

        await until(followed, what="parent and children log from DEBUG on")


async def _lost(shop: Workshop, sent: Sent) -> bool:
    """Do the relay's part; the dead child's successor may have been there first, and the run be under way again."""
    await shop.rescue()
    return (await shop.run(sent)).attempts[0].outcome is AttemptOutcome.LOST
