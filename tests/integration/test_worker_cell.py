"""Runs that kill their process, on real workers with a relay and a cell."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from events import AttemptOutcome, FailureKind, QueueReason, RunStatus
from storage.records import RunRecord
from tests.support.working import Sent, Worker, Workshop, until, workshop

pytestmark = pytest.mark.verify

LEASE = 2.0
FAST = {
    "THROUGHLINE_WORKER_LEASE": f"{LEASE:g}",
    "THROUGHLINE_RELAY_POLL_INTERVAL": "0.2",
    "THROUGHLINE_RELAY_REPUBLISH_AFTER": "3",
    "THROUGHLINE_RELAY_TAKE_LEASE": "3",
}

PATIENT = {"THROUGHLINE_WORKER_LEASE": "15"}
"""For a cell whose successor child is to be there before a relay, on a busy machine, too."""


@asynccontextmanager
async def supervised(shop: Workshop, **settings: str) -> AsyncIterator[list[Worker]]:
    """Keep a worker running, as every deployment does; the list grows by each start."""
    workers = [await shop.worker(**settings)]

    async def replace() -> None:
        while True:
            await until(lambda: workers[-1].process.poll() is not None, what="a death", seconds=3600)
            workers.append(await shop.worker(**settings))

    replacing = asyncio.create_task(replace())
    try:
        yield workers
    finally:
        replacing.cancel()
        with suppress(asyncio.CancelledError):
            await replacing


async def in_slow_node(shop: Workshop, sent: Sent, attempt: int) -> int:
    """Wait until an attempt is in its slow node; return its process."""

    def pids() -> list[int]:
        return [call.pid for call in shop.calls(sent) if call.node == "slow" and call.attempt == attempt]

    return (await until(pids, what=f"attempt {attempt} is in its slow node", seconds=30))[0]


async def in_status(shop: Workshop, sent: Sent, status: RunStatus) -> RunRecord:
    async def run() -> RunRecord | None:
        return await shop.in_status(sent, status)

    return await until(run, what=f"the run is {status}")


@pytest.mark.parametrize(("how", "told"), [("exit", "exited with code 3"), ("segfault", "was killed by SIGSEGV")])
async def test_killer_ends_poisoned_and_its_neighbours_succeed(
    database_url: str, redis_url: str, tmp_path: Path, how: str, told: str
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **FAST) as shop:
        relay = await shop.relay()
        cell = await shop.cell(**PATIENT)
        async with supervised(shop):
            neighbours = await shop.store("steady", 20, sleep=0.3)
            [killer] = await shop.store("deadly", how=how, die_attempts=99)
            run = await shop.ended(killer, seconds=60)
            ended = [await shop.ended(item, seconds=60) for item in neighbours]

        assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.POISONED)
        assert run.deaths == 4
        assert isinstance(run.error, dict)
        assert run.error["type"] == "Poisoned"
        assert "4 times, 2 of them while it ran alone in the cell" in str(run.error["message"])
        assert str(run.error["message"]).endswith(told)
        assert [attempt.outcome for attempt in run.attempts] == [AttemptOutcome.LOST] * 4
        assert {item.status for item in ended} == {RunStatus.SUCCEEDED}
        assert [call.node for call in shop.calls(killer)] == ["first", *["die"] * 4]
        assert len({call.pid for call in shop.calls(killer)}) == 4
        assert cell.process.poll() is None
        said = "run is poisoned: it has killed its process alone in the cell"
        await until(lambda: cell.logged(said) or relay.logged(said), what="it is told")


async def test_run_that_dies_twice_is_done_in_the_cell(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with workshop(database_url, redis_url, tmp_path, **FAST) as shop:
        await shop.relay()
        await shop.cell()
        async with supervised(shop):
            [sent] = await shop.store("deadly", how="exit", die_attempts=2)
            run = await shop.ended(sent, seconds=60)

        assert (run.status, run.deaths, run.attempt) == (RunStatus.SUCCEEDED, 2, 3)
        assert await shop.scalar("SELECT cell_deaths = 0 AND queue = 'cell' AND home_queue = 'default' FROM runs")


@pytest.mark.parametrize("what", ["child", "cell"])
async def test_victim_of_kills_from_outside_is_not_poisoned(
    database_url: str, redis_url: str, tmp_path: Path, what: str
) -> None:
    """However often, of the cell's child or of the cell with all that is in it."""
    async with workshop(database_url, redis_url, tmp_path, **FAST) as shop:
        await shop.relay()
        cell = await shop.cell()
        [victim] = await shop.store("steady", queue="cell", sleep=1.5)
        for attempt in (1, 2, 3):
            pid = await in_slow_node(shop, victim, attempt)
            if what == "child":
                os.kill(pid, signal.SIGKILL)
            else:
                cell.kill()
                cell = await shop.cell()
        run = await shop.ended(victim, seconds=40)

        assert (run.status, run.deaths) == (RunStatus.SUCCEEDED, 3)
        assert [call.node for call in shop.calls(victim)] == ["first", *["slow"] * 4, "last"]
        assert await shop.scalar("SELECT cell_deaths FROM runs") == 0
        seen = "was killed by SIGKILL" if what == "child" else "was gone: its lease ended, and nobody saw why"
        assert [str((attempt.error or {}).get("message")) for attempt in run.attempts[:3]] == [
            f"its process {seen}"
        ] * 3


async def test_run_that_kills_itself_as_from_outside_does_not_go_on_for_ever(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = FAST | {"THROUGHLINE_WORKER_CELL_UNEXPLAINED_DEATHS": "3"}
    async with workshop(database_url, redis_url, tmp_path, **settings) as shop:
        await shop.relay()
        await shop.cell(**PATIENT)
        [sent] = await shop.store("deadly", queue="cell", how="kill", die_attempts=99)
        run = await shop.ended(sent, seconds=40)

        assert (run.failure_kind, run.attempt) == (FailureKind.POISONED, 3)
        assert str((run.error or {}).get("message")).endswith("was killed by SIGKILL")


async def test_run_that_blocks_the_cell_beyond_its_lease_is_poisoned_all_the_same(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A relay may take the run before its process is ended: what it could not see is told later."""
    settings = FAST | {"THROUGHLINE_WORKER_BLOCKED_LIMIT": "30"}
    async with workshop(database_url, redis_url, tmp_path, **settings) as shop:
        await shop.relay()
        await shop.cell()
        [sent] = await shop.store("deadly", queue="cell", how="block", die_attempts=99)
        run = await shop.ended(sent, seconds=60)

        # Each death that a relay tells first may cost one try more; unexplained ones alone would take ten.
        assert run.failure_kind is FailureKind.POISONED
        assert run.attempt <= 6
        explained = "SELECT count(*) FROM attempts WHERE error->>'message' = 'its process exited with code 1'"
        assert await shop.scalar(explained) >= 2


@pytest.mark.parametrize("cell", [True, False])
async def test_dead_child_costs_no_lease(database_url: str, redis_url: str, tmp_path: Path, cell: bool) -> None:
    """Its successor frees the run: far faster than the lease, which is a minute here."""
    settings = FAST | {"THROUGHLINE_WORKER_LEASE": "60"}
    pool = {"THROUGHLINE_WORKER_CELL": "true"} if cell else {"THROUGHLINE_WORKER_POOL": "prefork"}
    async with workshop(database_url, redis_url, tmp_path, **settings) as shop:
        await shop.relay()
        worker = await shop.worker(**pool)
        [sent] = await shop.store("deadly", queue="cell" if cell else "default", how="segfault", die_attempts=1)
        await until(lambda: [c for c in shop.calls(sent) if c.node == "die"], what="it dies", seconds=20)
        began = time.monotonic()
        run = await shop.ended(sent, seconds=20)

        assert time.monotonic() - began < 10
        assert (run.status, run.deaths, run.attempt) == (RunStatus.SUCCEEDED, 1, 2)
        assert worker.process.poll() is None
        assert len(worker.logged("a child died; its runs are queued again")) == 1


async def test_poisoned_run_leaves_no_message_that_goes_round(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Celery sends a dead child's message again, which finds nothing to claim and is gone."""
    async with workshop(database_url, redis_url, tmp_path, **FAST) as shop:
        await shop.relay()
        await shop.cell(**PATIENT)
        [sent] = await shop.store("deadly", queue="cell", how="exit", die_attempts=99)
        run = await shop.ended(sent, seconds=30)

        assert (run.failure_kind, run.attempt) == (FailureKind.POISONED, 2)
        await until(lambda: not shop.unacknowledged and not shop.redis.llen("cell"), what="no message is left")
        [next_one] = await shop.store("steady", queue="cell")
        assert (await shop.ended(next_one)).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("how", ["memory_error", "system_exit"])
async def test_what_python_can_catch_is_an_error_and_kills_nobody(
    database_url: str, redis_url: str, tmp_path: Path, how: str
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        [sent] = await shop.store("deadly", how=how, die_attempts=99)
        shop.publish("deadly", [sent])

        run = await in_status(shop, sent, RunStatus.QUEUED)
        assert (run.reason, run.errors, run.deaths) == (QueueReason.RETRY, 1, 0)
        assert worker.process.poll() is None


async def test_cell_told_to_stop_hands_its_run_back_without_a_death(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **FAST) as shop:
        await shop.relay()
        cell = await shop.cell()
        [sent] = await shop.store("steady", queue="cell", sleep=60)
        await until(lambda: len(shop.calls(sent)) == 2, what="the run is in its slow node")
        cell.signal(signal.SIGTERM)
        await cell.ended(within=15)

        run = await shop.run(sent)
        assert (run.status, run.reason, run.deaths) == (RunStatus.QUEUED, QueueReason.HANDED_BACK, 0)
        with pytest.raises(ProcessLookupError):
            os.kill(shop.calls()[0].pid, 0)


@pytest.mark.parametrize("how", ["block", "regex"])
async def test_node_that_blocks_the_loop_is_named_and_costs_its_neighbours_nothing(
    database_url: str, redis_url: str, tmp_path: Path, how: str
) -> None:
    """Also where it holds the interpreter: then only the last resort acts, which names the line."""
    async with workshop(database_url, redis_url, tmp_path, **FAST, THROUGHLINE_WORKER_BLOCKED_LIMIT="1.5") as shop:
        await shop.relay()
        cell = await shop.cell(**PATIENT)
        async with supervised(shop) as workers:
            neighbours = await shop.store("steady", 5, sleep=0.3)
            [blocker] = await shop.store("deadly", how=how, die_attempts=99)
            run = await shop.ended(blocker, seconds=60)
            ended = [await shop.ended(item, seconds=60) for item in neighbours]

        assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.POISONED)
        assert {item.status for item in ended} == {RunStatus.SUCCEEDED}
        assert workers[0].process.returncode == 1
        assert "flows.py" in workers[0].text
        if how == "block":
            for process in (workers[0], cell):
                told = process.logged("the event loop is blocked; the process is ended if it goes on")[0]
                assert (told["pipeline"], told["node"], told["run_id"]) == ("deadly", "die", str(blocker.run_id))
                assert "flows.py" in told["line"]
