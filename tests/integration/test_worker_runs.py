from pathlib import Path

from events import AttemptOutcome, FailureKind, QueueReason, RunStatus
from storage.records import RunRecord
from tests.support.working import Sent, Workshop, until, workshop


async def test_message_with_one_run_ends_it_and_leaves_a_short_result(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        [sent] = await shop.store("steady")
        task_id = shop.publish("steady", [sent])
        run = await shop.ended(sent)

        assert run.status is RunStatus.SUCCEEDED
        assert [node.node for node in run.nodes] == ["first", "slow", "last"]
        assert [call.node for call in shop.calls(sent)] == ["first", "slow", "last"]
        [attempt] = run.attempts
        assert (attempt.outcome, attempt.task_id, len(attempt.span_id or "")) == (
            AttemptOutcome.SUCCEEDED,
            task_id,
            16,
        )
        key = f"celery-task-meta-{task_id}"
        await until(lambda: shop.redis.exists(key), what="the message's result is kept")
        assert 0 < int(shop.redis.ttl(key)) <= 300  # type: ignore[arg-type]  # redis-py types both of its faces
        await until(lambda: shop.unacknowledged == 0, what="the message is acknowledged")

        [line] = worker.logged("run ended")
        assert line["event_id"] == str(sent.event_id)
        assert line["run_id"] == str(sent.run_id)
        assert (line["pipeline"], line["attempt"], line["outcome"]) == ("steady", 1, "succeeded")


async def test_message_with_more_runs_than_slots_ends_all_of_them(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, THROUGHLINE_WORKER_SLOTS="4") as shop:
        await shop.worker()
        sent = await shop.store("steady", 30, sleep=0.02)
        shop.publish("steady", sent)

        assert {(await shop.ended(item)).status for item in sent} == {RunStatus.SUCCEEDED}
        assert len(shop.calls()) == 90


async def test_second_message_for_the_same_runs_claims_nothing(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        sent = await shop.store("steady", 5, sleep=0.5)
        tasks = [shop.publish("steady", sent) for _ in range(3)]
        for item in sent:
            run = await shop.ended(item)
            assert (run.status, run.attempt) == (RunStatus.SUCCEEDED, 1)

        results = [shop.celery.AsyncResult(task).get(timeout=5) for task in tasks]
        assert sorted(result["claimed"] for result in results) == [0, 0, 5]
        assert len(shop.calls()) == 15


async def test_retry_waits_in_the_database_and_done_nodes_are_not_called_again(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("steady", fail_attempts=2)
        for attempt in (1, 2):
            shop.publish("steady", [sent])
            run = await until(lambda a=attempt: _queued_after(shop, sent, a), what="the try is over")
            assert (run.reason, run.errors) == (QueueReason.RETRY, attempt)
        assert shop.redis.llen("default") == 0
        assert shop.unacknowledged <= 1
        shop.publish("steady", [sent])
        run = await shop.ended(sent)

        assert run.status is RunStatus.SUCCEEDED
        assert [attempt.outcome for attempt in run.attempts] == [
            AttemptOutcome.RETRIED,
            AttemptOutcome.RETRIED,
            AttemptOutcome.SUCCEEDED,
        ]
        assert [(call.node, call.attempt) for call in shop.calls(sent)] == [
            ("first", 1),
            ("slow", 1),
            ("slow", 2),
            ("slow", 3),
            ("last", 3),
        ]


async def test_run_whose_tries_are_used_up_is_dead_and_keeps_what_each_of_them_said(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The node fails twice by its own policy, and the pipeline's tries are still whole for the node after it."""
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("choosy", fail_attempts=9)
        for attempt in (1, 2, 3):
            shop.publish("choosy", [sent])
            await until(lambda a=attempt: _queued_after(shop, sent, a), what="the try is over")
        shop.publish("choosy", [sent])
        run = await shop.ended(sent)

        assert (run.status, run.failure_kind, run.errors) == (RunStatus.FAILED, FailureKind.ERROR, 4)
        told = [attempt.error or {} for attempt in run.attempts]
        assert [(error["type"], error["message"], error["node"]) for error in told] == [
            ("RuntimeError", "try 1", "flaky"),
            ("RuntimeError", "try 2", "flaky"),
            ("RuntimeError", "try 3", "after_flaky"),
            ("RuntimeError", "try 4", "after_flaky"),
        ]
        assert all("tests/support/flows.py" in str(error["traceback"]) for error in told)
        assert run.error == told[-1]


async def test_wait_that_a_node_asks_for_stands_in_the_database(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("busy")
        shop.publish("busy", [sent])
        await until(lambda: _queued_after(shop, sent, 1), what="the try is over")

        assert await shop.scalar(
            "SELECT r.available_at - a.finished_at = interval '90 seconds' FROM runs r JOIN attempts a USING (run_id)"
        )


async def _queued_after(shop: Workshop, sent: Sent, attempt: int) -> RunRecord | None:
    run = await shop.run(sent)
    return run if run.status is RunStatus.QUEUED and run.attempt == attempt else None


async def test_permanent_error_fails_the_run_at_once_and_visibly(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("refusing")
        shop.publish("refusing", [sent])
        run = await shop.ended(sent)

        assert (run.status, run.failure_kind, run.attempt) == (RunStatus.FAILED, FailureKind.ERROR, 1)
        assert run.error is not None
        assert (run.error["type"], run.error["message"], run.error["node"]) == ("Permanent", "never", "refuse")


async def test_event_that_no_longer_fits_the_schema_fails_visibly(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("steady", data={"log": 7})
        shop.publish("steady", [sent])
        run = await shop.ended(sent)

        assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.INVALID_EVENT)


async def test_unknown_pipeline_is_kept_for_later_without_a_claim(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        [sent] = await shop.store("from_the_future")
        shop.publish("from_the_future", [sent])
        await until(lambda: worker.logged("message names a pipeline that is not known here"), what="it is told")
        await until(lambda: shop.unacknowledged == 0, what="the message is acknowledged")

        run = await shop.run(sent)
        assert (run.status, run.attempt, run.reason) == (RunStatus.QUEUED, 0, QueueReason.UNKNOWN_PIPELINE)
        assert await shop.scalar("SELECT min(available_at) > now() + interval '5 seconds' FROM runs")


async def test_newer_version_of_a_known_pipeline_is_kept_for_later(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker()
        [sent] = await shop.store("steady", version=2)
        shop.publish("steady", [sent])

        run = await until(lambda: _queued_after(shop, sent, 1), what="it is put back")
        assert (run.reason, run.errors, run.deaths) == (QueueReason.UNKNOWN_PIPELINE, 0, 0)
        assert [attempt.outcome for attempt in run.attempts] == [AttemptOutcome.HANDED_BACK]
        assert shop.calls() == []


async def test_slow_runs_are_left_to_the_lease_once_the_message_has_waited_its_time(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(
        database_url,
        redis_url,
        tmp_path,
        THROUGHLINE_WORKER_ACKNOWLEDGE_AFTER="0.5",
        THROUGHLINE_WORKER_CONCURRENCY="1",
    ) as shop:
        await shop.worker()
        [slow] = await shop.store("steady", sleep=4)
        [quick] = await shop.store("steady")
        task = shop.publish("steady", [slow])
        shop.publish("steady", [quick])

        assert (await shop.ended(quick)).status is RunStatus.SUCCEEDED
        assert (await shop.run(slow)).status is RunStatus.RUNNING
        assert shop.celery.AsyncResult(task).get(timeout=5)["left"] == 1
        assert (await shop.ended(slow)).status is RunStatus.SUCCEEDED


async def test_message_that_cannot_be_read_is_told_and_harms_nobody(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        shop.publish("steady", [], extra="secret-value")
        shop.celery.send_task("process_incoming_event", args=[1, 2], queue="default")
        shop.celery.send_task("no_such_task", queue="default")
        [sent] = await shop.store("steady")
        shop.publish("steady", [sent])

        assert (await shop.ended(sent)).status is RunStatus.SUCCEEDED
        assert len(worker.logged("message can't be read and is left aside")) == 2
        assert "secret-value" not in worker.text
        await until(lambda: shop.unacknowledged == 0, what="all messages are acknowledged")


async def test_publisher_reaches_a_queue_that_it_does_not_declare_after_redis_lost_everything(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        await shop.worker(THROUGHLINE_WORKER_QUEUES='["elsewhere"]')
        shop.redis.flushdb()
        [sent] = await shop.store("steady", queue="elsewhere")
        shop.publish("steady", [sent], queue="elsewhere")

        assert (await shop.ended(sent)).status is RunStatus.SUCCEEDED
