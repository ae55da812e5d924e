import signal
from pathlib import Path

import pytest

from events import AttemptOutcome, QueueReason, RunStatus
from tests.support.working import until, workshop

MARGIN = 2.5
"""Seconds a stop may take beyond the grace, on a busy test machine."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_gives_slow_runs_back_and_another_worker_resumes_them(
    database_url: str, redis_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        sent = await shop.store("steady", 3, sleep=4)
        shop.publish("steady", sent)
        await until(lambda: len(shop.calls()) == 6, what="all runs are in their slow node")
        worker.signal(number)
        took = await worker.ended(within=15)

        assert took < 1 + MARGIN
        assert worker.process.returncode == 0
        assert shop.unacknowledged == 0
        for item in sent:
            run = await shop.run(item)
            assert (run.status, run.reason, run.deaths, run.errors) == (
                RunStatus.QUEUED,
                QueueReason.HANDED_BACK,
                0,
                0,
            )
            assert [attempt.outcome for attempt in run.attempts] == [AttemptOutcome.HANDED_BACK]
        assert await shop.scalar("SELECT bool_and(publish_at <= now() AND published_at IS NULL) FROM runs")
        assert await shop.scalar("SELECT bool_and(ended_at IS NOT NULL) FROM worker_leases")

        await shop.worker()
        shop.publish("steady", sent)
        for item in sent:
            assert (await shop.ended(item)).status is RunStatus.SUCCEEDED
            assert [(call.node, call.attempt) for call in shop.calls(item)] == [
                ("first", 1),
                ("slow", 1),
                ("slow", 2),
                ("last", 2),
            ]


async def test_quick_runs_end_within_the_grace(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with workshop(database_url, redis_url, tmp_path, THROUGHLINE_WORKER_STOP_GRACE="5") as shop:
        worker = await shop.worker()
        sent = await shop.store("steady", 3, sleep=1)
        shop.publish("steady", sent)
        await until(lambda: len(shop.calls()) == 6, what="all runs are in their slow node")
        worker.signal(signal.SIGTERM)
        took = await worker.ended(within=15)

        assert took < 1 + MARGIN
        assert {(await shop.run(item)).status for item in sent} == {RunStatus.SUCCEEDED}
        assert shop.unacknowledged == 0


async def test_second_signal_gives_no_more_time(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with workshop(database_url, redis_url, tmp_path, THROUGHLINE_WORKER_STOP_GRACE="30") as shop:
        worker = await shop.worker()
        [sent] = await shop.store("steady", sleep=60)
        shop.publish("steady", [sent])
        await until(lambda: len(shop.calls()) == 2, what="the run is in its slow node")
        worker.signal(signal.SIGTERM)
        await until(lambda: worker.logged("stopping"), what="the stop begins")
        worker.signal(signal.SIGTERM)

        assert await worker.ended(within=15) < MARGIN
        assert (await shop.run(sent)).reason is QueueReason.HANDED_BACK
        assert shop.unacknowledged == 0


async def test_messages_that_wait_for_slots_let_go_of_their_runs_at_once(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, THROUGHLINE_WORKER_SLOTS="1") as shop:
        worker = await shop.worker()
        sent = await shop.store("steady", 6, sleep=20)
        await shop.mark_published(sent)
        for item in sent:
            shop.publish("steady", [item])
        await until(lambda: len(shop.calls()) == 2, what="one run is in its slow node")
        await until(lambda: shop.unacknowledged == len(sent), what="all messages are fetched")
        worker.signal(signal.SIGTERM)
        await worker.ended(within=15)

        assert shop.unacknowledged == 0
        assert await shop.scalar("SELECT count(*) FROM runs WHERE publish_at <= now() AND status = 'queued'") == 6
        assert await shop.scalar("SELECT count(*) FROM attempts") == 1


@pytest.mark.parametrize("pipeline", ["computing", "blocking"])
async def test_node_that_is_deaf_to_its_cancel_does_not_hold_up_the_stop(
    database_url: str, redis_url: str, tmp_path: Path, pipeline: str
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        [sent] = await shop.store(pipeline, sleep=60)
        shop.publish(pipeline, [sent])
        await until(lambda: len(shop.calls()) == 1, what="the node runs")
        worker.signal(signal.SIGTERM)

        assert await worker.ended(within=15) < 1 + MARGIN
        run = await shop.run(sent)
        assert (run.status, run.reason, run.deaths) == (RunStatus.QUEUED, QueueReason.HANDED_BACK, 0)


async def test_remote_shutdown_stops_like_a_signal(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        [sent] = await shop.store("steady", sleep=60)
        shop.publish("steady", [sent])
        await until(lambda: len(shop.calls()) == 2, what="the run is in its slow node")
        shop.celery.control.shutdown()

        await worker.ended(within=10)
        assert (await shop.run(sent)).reason is QueueReason.HANDED_BACK
