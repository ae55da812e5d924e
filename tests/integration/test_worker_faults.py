import asyncio
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import text

from events import QueueReason, RunStatus
from storage.engine import transaction
from tests.support.tcp_proxy import Mode, tcp_proxy
from tests.support.working import until, workshop

LEASE = timedelta(seconds=2)
STRAYS = "runs that nothing here works on are given back"


async def test_worker_cut_off_from_postgresql_cancels_its_runs_before_the_lease_ends_and_goes_on_after(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop, tcp_proxy(database_url) as proxy:
        worker = await shop.worker(THROUGHLINE_DATABASE_URL=proxy.url, THROUGHLINE_WORKER_LEASE="3")
        [sent] = await shop.store("steady", sleep=30)
        shop.publish("steady", [sent])
        await until(lambda: len(shop.calls()) == 2, what="the run is in its slow node")
        proxy.switch(Mode.SWALLOW)
        await until(lambda: worker.logged("lease lost; its runs are cancelled here"), what="the lease is given up")
        assert await shop.scalar("SELECT expires_at > now() FROM worker_leases ORDER BY started_at LIMIT 1")
        await until(lambda: worker.logged("run ended"), what="the run is cancelled")

        proxy.switch(Mode.REFUSE)
        proxy.switch(Mode.PASS)
        await until(lambda: len(worker.logged("lease opened")) == 2, what="a new lease is opened")
        run = await until(lambda: shop.in_status(sent, RunStatus.QUEUED), what="the run is given back")
        assert (run.reason, run.deaths) == (QueueReason.HANDED_BACK, 0)
        [quick] = await shop.store("steady")
        shop.publish("steady", [quick])
        assert (await shop.ended(quick)).status is RunStatus.SUCCEEDED


async def test_write_of_a_run_that_has_passed_to_another_attempt_is_refused_quietly(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        [sent] = await shop.store("steady", sleep=1)
        shop.publish("steady", [sent])
        await until(lambda: len(shop.calls()) == 2, what="the run is in its slow node")
        await shop.take_away(sent)
        await until(lambda: worker.logged("run ended"), what="the first worker is done with it")

        assert worker.logged("run ended")[0]["outcome"] == "stale"
        run = await shop.run(sent)
        assert (run.status, run.reason) == (RunStatus.QUEUED, QueueReason.RESCUED)


async def test_finish_waits_for_postgresql_while_the_lease_may_be_held(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop, tcp_proxy(database_url) as proxy:
        worker = await shop.worker(THROUGHLINE_DATABASE_URL=proxy.url, THROUGHLINE_WORKER_LEASE="20")
        [sent] = await shop.store("steady", sleep=1)
        shop.publish("steady", [sent])
        await until(lambda: len(shop.calls()) == 2, what="the run is in its slow node")
        proxy.switch(Mode.REFUSE)
        await until(lambda: len(shop.calls()) == 3, what="the nodes are done")
        assert (await shop.run(sent)).status is RunStatus.RUNNING
        proxy.switch(Mode.PASS)

        run = await shop.ended(sent)
        assert (run.status, run.attempt) == (RunStatus.SUCCEEDED, 1)
        assert worker.logged("lease lost; its runs are cancelled here") == []


async def test_claim_whose_answer_was_lost_is_given_back(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker(THROUGHLINE_WORKER_LEASE="2")
        [sent] = await shop.store("steady")
        await shop.claim_unseen(sent)
        run = await until(lambda: shop.in_status(sent, RunStatus.QUEUED), what="the stray run is given back")

        assert run.reason is QueueReason.HANDED_BACK
        assert worker.logged(STRAYS)


async def test_stray_run_that_somebody_locks_costs_the_worker_no_lease(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker(THROUGHLINE_WORKER_LEASE="2", THROUGHLINE_DATABASE_STATEMENT_TIMEOUT="20")
        [sent] = await shop.store("steady")
        await shop.claim_unseen(sent)
        async with transaction(shop.engine) as connection:
            await connection.execute(
                text("SELECT FROM runs WHERE run_id = :run_id FOR UPDATE"), {"run_id": sent.run_id}
            )
            await until(lambda: worker.logged(STRAYS), what="the stray run is found")
            blocked = await shop.scalar("SELECT clock_timestamp()")

            async def outlived() -> bool:
                renewed = await shop.scalar("SELECT max(renewed_at) FROM worker_leases WHERE ended_at IS NULL")
                return bool(renewed - blocked > 2 * LEASE)

            await until(outlived, what="the lease is renewed beyond its length while the row is locked")
        await until(lambda: shop.in_status(sent, RunStatus.QUEUED), what="the stray run is given back")
        assert worker.logged("lease lost; its runs are cancelled here") == []


async def test_no_node_is_called_once_the_lease_can_have_ended_though_nothing_could_be_told_yet(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A process that was stopped, or a loop that was blocked, goes on with what was ready before it hears anything."""
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker(THROUGHLINE_WORKER_LEASE="2")
        sent = await shop.store("blocking", 4, sleep=1)
        shop.publish("blocking", sent)
        await until(lambda: worker.logged("lease lost; its runs are cancelled here"), what="the lease is lost")
        for one in sent:
            await until(partial(shop.in_status, one, RunStatus.QUEUED), what="each run is given back")
        # The lease is as old as its last renewal: up to a third of it, and what the machine is late by.
        assert len([call for call in shop.calls() if call.attempt == 1]) in {1, 2}


async def test_wedged_redis_holds_up_no_run_for_the_sake_of_a_result(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop, tcp_proxy(redis_url) as proxy:
        worker = await shop.worker(
            THROUGHLINE_REDIS_URL=proxy.url,
            THROUGHLINE_REDIS_SOCKET_TIMEOUT="3",
            THROUGHLINE_WORKER_CONCURRENCY="1",
            THROUGHLINE_WORKER_PREFETCH_MULTIPLIER="4",
        )
        sent = await shop.store("steady", 3, sleep=1)
        for item in sent:
            shop.publish("steady", [item])
        await until(lambda: len(shop.calls()) == 2, what="the first run is in its slow node")
        await until(lambda: shop.unacknowledged == 3, what="all messages are fetched")
        proxy.switch(Mode.SWALLOW)
        for item in sent:
            assert (await shop.ended(item, seconds=15)).status is RunStatus.SUCCEEDED
        proxy.switch(Mode.REFUSE)
        proxy.switch(Mode.PASS)
        [later] = await shop.store("steady")
        shop.publish("steady", [later])
        assert (await shop.ended(later, seconds=60)).status is RunStatus.SUCCEEDED
        assert worker.process.poll() is None


async def test_killed_worker_costs_its_lease_and_done_nodes_are_not_called_again(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, THROUGHLINE_WORKER_LEASE="2") as shop:
        worker = await shop.worker()
        [sent] = await shop.store("steady", sleep=2)
        shop.publish("steady", [sent])
        await until(lambda: len(shop.calls()) == 2, what="the run is in its slow node")
        worker.signal(signal.SIGKILL)
        await until(shop.rescue, what="the lease ends")
        await shop.worker()
        shop.publish("steady", [sent])

        run = await shop.ended(sent)
        assert (run.status, run.attempt, run.deaths) == (RunStatus.SUCCEEDED, 2, 1)
        assert [call.node for call in shop.calls(sent)] == ["first", "slow", "slow", "last"]


async def test_a_node_that_costs_its_worker_the_lease_by_blocking_counts_as_a_death(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Else it would be handed back and begun again without end: too short for a rescuer, too long for a lease."""
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker(THROUGHLINE_WORKER_LEASE="2")
        [sent] = await shop.store("blocking", sleep=1.95)
        shop.publish("blocking", [sent])
        run = await until(lambda: shop.in_status(sent, RunStatus.QUEUED), what="the run is given back")

        assert worker.logged("lease lost; its runs are cancelled here")
        assert (run.reason, run.deaths) == (QueueReason.RESCUED, 1)
        told = await shop.scalar("SELECT outcome || ': ' || (error->>'message') FROM attempts")
        assert told.startswith("lost: its process lost its lease while a node blocked its event loop")
        assert worker.process.poll() is None


async def test_blocked_event_loop_ends_the_process_and_names_the_line(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker(THROUGHLINE_WORKER_BLOCKED_LIMIT="2")
        await asyncio.sleep(3)
        assert worker.process.poll() is None
        [sent] = await shop.store("blocking", sleep=60)
        shop.publish("blocking", [sent])
        await worker.ended(within=15)

        assert worker.process.returncode == 1
        assert "flows.py" in worker.text
