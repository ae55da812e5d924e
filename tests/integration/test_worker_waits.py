import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from events import AttemptOutcome, FailureKind, QueueReason, RunStatus, new_id
from pipelines.lineage import nodes_before
from storage import cancels, ingest, replays, wake
from storage.engine import transaction
from storage.records import NewEvent, NewKey, RunRecord
from tests.support.driver import Fetching
from tests.support.flows import patient
from tests.support.working import TENANT, Sent, Worker, Workshop, until, workshop

MANY = 10_000
WARM = 1_000
_MEGABYTE = 1024.0


@pytest.fixture
async def shop(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Workshop]:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        yield shop


async def pay(shop: Workshop, *orders: int) -> None:
    """Do the API's part for events that runs of ``patient`` wait for."""
    events = [
        NewEvent(
            tenant=TENANT,
            event_id=(event_id := new_id()),
            source="test",
            ce_id=str(event_id),
            type="test.paid",
            subject=None,
            time=None,
            data=json.dumps({"order": order}),
            content_hash=b"x" * 32,
            traceparent=None,
            runs=(),
            awaited=True,
            keys=(NewKey("data.order", str(order)),),
        )
        for order in orders
    ]
    async with transaction(shop.engine) as connection:
        await ingest.store_events(Fetching(connection), events)
    await notify(shop)


async def notify(shop: Workshop) -> None:
    async with transaction(shop.engine) as connection:
        await wake.notify(connection)


async def waiting(shop: Workshop, sent: Sent, reason: QueueReason = QueueReason.WAITING) -> RunRecord:
    """Wait until a run is put off."""

    async def put_off() -> RunRecord | None:
        run = await shop.run(sent)
        return run if run.reason is reason else None

    return await until(put_off, what=f"the run is {reason}", seconds=30.0)


def outcomes(run: RunRecord) -> list[AttemptOutcome | None]:
    return [attempt.outcome for attempt in run.attempts]


def output_of(run: RunRecord, node: str) -> Any:
    (found,) = (result.output for result in run.nodes if result.node == node)
    return found


async def test_a_run_waits_without_a_worker_and_goes_on_with_its_event(shop: Workshop) -> None:
    worker = await shop.worker()
    await shop.relay()
    [sent] = await shop.store("patient", number=7)
    run = await waiting(shop, sent)
    [wait] = run.waits
    assert (wait.node, wait.type, wait.path, wait.key, wait.ended_at) == ("pay", "test.paid", "data.order", "7", None)
    assert (run.status, run.errors, outcomes(run)) == (RunStatus.QUEUED, 0, [AttemptOutcome.SUSPENDED])
    await pay(shop, 7)
    run = await shop.ended(sent)
    assert (run.status, run.errors, run.attempt) == (RunStatus.SUCCEEDED, 0, 2)
    assert outcomes(run) == [AttemptOutcome.SUSPENDED, AttemptOutcome.SUCCEEDED]
    assert output_of(run, "pay") == {"order": 7}
    assert [call.node for call in shop.calls(sent)] == ["first", "last"]
    lines = await until(lambda: len(worker.logged("run ended")) == 2 and worker.logged("run ended"), what="both lines")
    assert lines
    told = lines[0]
    assert (told["outcome"], told["reason"], told["node"]) == ("suspended", "waiting", "pay")
    assert 3500 < told["resumes_in"] <= 3600


async def test_a_run_whose_event_does_not_come_goes_on_without_it(shop: Workshop) -> None:
    await shop.worker()
    await shop.relay()
    [sent] = await shop.store("impatient", number=7)
    run = await shop.ended(sent, seconds=30.0)
    assert (run.status, outcomes(run)) == (
        RunStatus.SUCCEEDED,
        [AttemptOutcome.SUSPENDED, AttemptOutcome.SUCCEEDED],
    )
    [wait] = run.waits
    assert (output_of(run, "pay_soon"), wait.event_id) == (None, None)
    assert wait.ended_at is not None
    assert wait.ended_at >= wait.until


async def test_a_run_sleeps_as_long_as_it_says(shop: Workshop) -> None:
    await shop.worker()
    await shop.relay()
    [sent] = await shop.store("napping", sleep=1.0)
    run = await shop.ended(sent, seconds=30.0)
    first, second = run.attempts
    assert first.finished_at is not None
    assert (second.started_at - first.finished_at).total_seconds() >= 1.0
    assert (run.status, outcomes(run)) == (
        RunStatus.SUCCEEDED,
        [AttemptOutcome.SUSPENDED, AttemptOutcome.SUCCEEDED],
    )


async def test_a_worker_that_is_killed_after_a_wait_costs_neither_the_event_nor_what_is_done(shop: Workshop) -> None:
    worker = await shop.worker(THROUGHLINE_WORKER_LEASE="2")
    await shop.relay(THROUGHLINE_WORKER_LEASE="2")
    [sent] = await shop.store("patient_then_slow", number=7, sleep=60)
    await waiting(shop, sent)
    await pay(shop, 7)
    await until(lambda: [call.node for call in shop.calls(sent)] == ["first", "slow"], what="it is in its slow node")
    async with transaction(shop.engine) as connection:
        await connection.execute(text("UPDATE events SET data = data || '{\"sleep\": 0}' WHERE type <> 'test.paid'"))
    worker.kill()
    await shop.worker(THROUGHLINE_WORKER_LEASE="2")
    run = await shop.ended(sent, seconds=60.0)
    assert outcomes(run) == [AttemptOutcome.SUSPENDED, AttemptOutcome.LOST, AttemptOutcome.SUCCEEDED]
    assert output_of(run, "pay") == {"order": 7}
    assert [call.node for call in shop.calls(sent)] == ["first", "slow", "slow"]


async def test_a_waiting_run_that_is_cancelled_never_goes_on(shop: Workshop) -> None:
    await shop.worker()
    await shop.relay()
    [sent, other] = await shop.store("patient", 2, number=7)
    await waiting(shop, sent)
    await waiting(shop, other)
    async with transaction(shop.engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[sent.run_id], reason="enough")
    await pay(shop, 7)
    assert (await shop.ended(other)).status is RunStatus.SUCCEEDED
    assert (await shop.run(sent)).status is RunStatus.CANCELLED
    assert [call.node for call in shop.calls(sent)] == ["first"]


async def test_a_run_whose_lifetime_ends_while_it_waits_fails_then(shop: Workshop) -> None:
    await shop.worker()
    await shop.relay()
    [sent] = await shop.store("shortlived", number=7)
    run = await shop.ended(sent, seconds=30.0)
    assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.TIMEOUT)
    assert [call.node for call in shop.calls(sent)] == []


async def test_a_replay_from_a_node_behind_a_wait_does_not_wait_again(shop: Workshop) -> None:
    await shop.worker()
    await shop.relay()
    [sent] = await shop.store("patient", number=7)
    await waiting(shop, sent)
    await pay(shop, 7)
    assert (await shop.ended(sent)).status is RunStatus.SUCCEEDED
    new_run = new_id()
    async with transaction(shop.engine) as connection:
        again = replays.Replay(
            origin=sent.run_id, run_id=new_run, pipeline_version=1, queue="default", traceparent=None
        )
        begin = replays.From(node="last", kept=nodes_before(patient.steps, "last"))
        await replays.replay_runs(connection, tenant=TENANT, replays=[again], begin=begin)
    await notify(shop)
    replayed = Sent(event_id=sent.event_id, run_id=new_run)
    await until(lambda: [call.node for call in shop.calls(replayed)] == ["last"], what="its last node is called")
    await until(lambda: shop.scalar("SELECT count(*) = 2 FROM runs WHERE status = 'succeeded'"), what="it succeeds")
    assert await shop.scalar("SELECT count(*) FROM attempts") == 3


def memory_of(worker: Worker) -> float:
    """The megabytes that a worker has in memory."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return float(line.split()[1]) / _MEGABYTE


async def put_off(shop: Workshop, first: int, count: int) -> None:
    """Let so many runs begin to wait, half of them for an event, and half for the night to be over."""
    for number in range(first, first + count, 2):
        await shop.store("patient", number=number)
    await shop.store("napping", count // 2, sleep=86_400.0)
    await notify(shop)
    await counted(shop, first + count, "status = 'queued' AND reason IN ('waiting', 'sleeping')")


async def counted(shop: Workshop, count: int, condition: str) -> None:
    statement = f"SELECT count(*) = {count} FROM runs WHERE {condition}"
    await until(lambda: shop.scalar(statement), what=f"{count} runs are {condition}", seconds=400.0)


async def end_all(shop: Workshop, orders: Sequence[int]) -> None:
    """Let all events come, many at a time, and the night be over."""
    for begin in range(0, len(orders), 500):
        await pay(shop, *orders[begin : begin + 500])
    async with transaction(shop.engine) as connection:
        for statement in (
            "UPDATE waits SET until = now() WHERE type IS NULL AND ended_at IS NULL",
            "UPDATE runs SET available_at = now(), publish_at = now() WHERE reason = 'sleeping'",
        ):
            await connection.execute(text(statement))
    await notify(shop)


@pytest.mark.verify
async def test_ten_thousand_runs_that_wait_or_sleep_hold_no_slot_and_hardly_any_memory_and_all_end(
    shop: Workshop,
) -> None:
    """The first thousand of other runs have shown the worker its code, its statements and its metrics."""
    worker = await shop.worker()
    await shop.relay()
    await put_off(shop, 0, WARM)
    before = memory_of(worker)
    await put_off(shop, WARM, MANY)
    after = memory_of(worker)
    assert await shop.scalar("SELECT count(*) FROM runs WHERE status = 'running'") == 0
    assert after - before < 50.0
    [quick] = await shop.store("prompt")
    await notify(shop)
    assert (await shop.ended(quick)).status is RunStatus.SUCCEEDED
    await end_all(shop, range(0, WARM + MANY, 2))
    await counted(shop, WARM + MANY + 1, "status = 'succeeded'")
    assert await shop.scalar("SELECT count(*) FROM waits WHERE type IS NOT NULL AND matched_event_id IS NULL") == 0
    assert await shop.scalar("SELECT count(*) FROM attempts") == 2 * (WARM + MANY) + 1
    assert memory_of(worker) - before < 50.0
