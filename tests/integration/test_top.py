import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from events import ThroughlineError
from settings import DatabaseSettings
from storage.engine import create_engine, transaction
from storage.overview import Overview, look_around
from tests.support.stories import TENANT, Stories
from tests.support.system import ROOT
from tests.support.tcp_proxy import Mode, tcp_proxy
from tests.support.terminal import Terminal, terminal
from throughline.cli.main import app


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def stories(engine: AsyncEngine) -> Stories:
    return Stories(engine)


async def look(engine: AsyncEngine, *, interval: float = 600.0) -> Overview:
    return await look_around(engine, tenant=TENANT, interval=interval, window=600.0, within=10.0)


async def top_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", database_url)
    return await asyncio.to_thread(CliRunner().invoke, app, ["top", "--once"])


async def some_work(stories: Stories) -> None:
    """Two runs that succeed, one after a retry; one failed, one cancelled, one under way, one due, one put off."""
    await stories.open_worker(worker="worker-9@host#dead", cell=True)
    await stories.open_worker()
    made = await stories.event("quick", "again", "bad", "unwanted", "held", "waiting", "later")
    quick, again, bad, unwanted, held, _, later = made.run_ids
    await stories.succeed(await stories.claim(quick), "first", "second")
    await stories.retry(await stories.claim(again), "slow", "not yet")
    await stories.succeed(await stories.claim(again), "slow")
    await stories.fail(await stories.claim(bad), "only", "the price is\nmissing")
    await stories.cancel(unwanted, "sent twice")
    await stories.retry(await stories.claim(later), "slow", "busy", delay=600)
    await stories.claim(held)
    await stories.event(kind="nobody.wants")


async def test_all_that_goes_on_is_counted(engine: AsyncEngine, stories: Stories) -> None:
    await some_work(stories)
    seen = await look(engine)
    rates = seen.lately.last
    counts = [round(rate * 600.0, 6) for rate in (rates.accepted, rates.completed, rates.failed, rates.retried)]
    assert counts == [2, 3, 1, 2]
    assert seen.lately.minute.completed * 60.0 == pytest.approx(3)
    (queue,) = seen.queues
    assert (queue.due, queue.delayed, queue.running) == (1, 1, 1)
    assert [(worker.worker, worker.cell, worker.runs, worker.is_late) for worker in seen.workers] == [
        ("worker-7@host#ab12cd34", False, 1, False),
        ("worker-9@host#dead", True, 0, False),
    ]
    assert seen.running == {"held": 1}
    ended = {one.pipeline: (one.succeeded, one.cancelled, one.failed) for one in seen.lately.ended}
    assert ended == {"quick": (1, 0, 0), "again": (1, 0, 0), "bad": (0, 0, 1), "unwanted": (0, 1, 0)}
    assert {one.pipeline for one in seen.lately.ended if one.p50 is not None and one.p95 is not None} == {
        "quick",
        "again",
    }
    assert {(node.pipeline, node.node): node.count for node in seen.nodes} == {
        ("quick", "first"): 1,
        ("quick", "second"): 1,
        ("again", "before"): 1,
        ("again", "slow"): 1,
        ("bad", "only"): 1,
    }
    assert [(failure.pipeline, failure.error and failure.error["node"]) for failure in seen.failures] == [
        ("bad", "only")
    ]
    assert (seen.dead, seen.unrouted) == (1, 1)
    assert (seen.account.open, seen.account.difference) == (3, 0)


async def test_what_is_long_past_is_no_part_of_the_rates(engine: AsyncEngine, stories: Stories) -> None:
    await some_work(stories)
    async with transaction(engine) as connection:
        await connection.execute(
            text("UPDATE runs SET finished_at = now() - interval '90 seconds' WHERE finished_at IS NOT NULL")
        )
        await connection.execute(
            text("UPDATE attempts SET finished_at = now() - interval '90 seconds' WHERE finished_at IS NOT NULL")
        )
        await connection.execute(text("UPDATE events SET received_at = now() - interval '90 seconds'"))
    seen = await look(engine, interval=2.0)
    for rates in (seen.lately.last, seen.lately.minute):
        assert (rates.accepted, rates.completed, rates.failed, rates.retried) == (0, 0, 0, 0)
    assert sum(one.succeeded for one in seen.lately.ended) == 2, "the counts by pipeline go further back"
    assert [failure.pipeline for failure in seen.failures] == ["bad"]


async def test_a_worker_that_does_not_renew_is_late_and_one_that_ended_is_gone(
    engine: AsyncEngine, stories: Stories
) -> None:
    await stories.open_worker(worker="a#1", seconds=-1.0)
    await stories.open_worker(worker="b#1")
    await stories.die()
    await stories.open_worker(worker="c#1")
    seen = await look(engine)
    assert [(worker.worker, worker.is_late) for worker in seen.workers] == [("a#1", True), ("c#1", False)]


async def test_once_prints_one_look_with_work(
    stories: Stories, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_work(stories)
    result = await top_once(database_url, monkeypatch)
    assert result.exit_code == 0, result.output
    said = [re.split(r"\s{2,}", line.strip()) for line in result.output.splitlines()]
    assert ["default", "1", "1", "0", "1"] in [words[:5] for words in said]
    assert ["worker-7@host", "ab12cd34", "1"] in [words[:3] for words in said]
    assert "open 3   dead 1   unrouted 1   accounting difference 0" in result.output
    assert "error: RuntimeError in only: the price is missing" in result.output
    assert "\x1b" not in result.output


async def test_once_prints_one_look_with_nothing_there(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await top_once(database_url, monkeypatch)
    assert result.exit_code == 0, result.output
    assert "open 0   dead 0   unrouted 0   accounting difference 0" in result.output
    assert result.output.splitlines()[-1].strip() == "no worker is alive"


async def test_once_without_a_database_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["top", "--once"], ["trace", "01a2"]):
        monkeypatch.setenv("THROUGHLINE_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x")
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert isinstance(result.exception, ThroughlineError), result.output
        assert "Connect call failed" in str(result.exception)
        assert "secret" not in str(result.exception)
        assert "\n" not in str(result.exception)


def live(environment: dict[str, str], database_url: str, *, rows: int = 24) -> Any:
    return terminal(
        [sys.executable, "-m", "throughline", "top", "--interval", "0.2"],
        env=environment | {"THROUGHLINE_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        cwd=ROOT,
        rows=rows,
    )


def last_frame(shown: str) -> str:
    return shown.rpartition("throughline top")[2]


@pytest.fixture
def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("THROUGHLINE_", "COLUMNS"))}


@pytest.mark.parametrize("keys", [b"q", b"\x03"], ids=["q", "ctrl-c"])
def test_it_ends_cleanly_and_leaves_the_terminal_as_it_was(
    keys: bytes, environment: dict[str, str], database_url: str
) -> None:
    with live(environment, database_url) as shown:
        before = shown.attributes
        shown.until(lambda said: "accounting difference 0" in said)
        assert shown.attributes != before
        shown.press(keys)
        assert shown.end() == 0
        assert shown.attributes == before
        assert "\x1b[?1049h" in shown.shown
        assert shown.shown.rindex("\x1b[?1049l") > shown.shown.rindex("\x1b[?1049h")
        assert shown.shown.rindex("\x1b[?25h") > shown.shown.rindex("\x1b[?25l")
        assert "Traceback" not in shown.shown


async def test_it_says_that_the_database_is_away_and_goes_on_when_it_is_back(
    environment: dict[str, str], database_url: str
) -> None:
    async with tcp_proxy(database_url) as proxy:
        with live(environment, proxy.url) as shown:

            async def until(is_there: Callable[[str], bool]) -> None:
                await asyncio.to_thread(shown.until, is_there)

            assert isinstance(shown, Terminal)
            await until(lambda said: "accounting" in said)
            proxy.switch(Mode.REFUSE)
            await until(lambda said: "no answer from PostgreSQL" in last_frame(said))
            proxy.switch(Mode.PASS)
            await until(lambda said: "accounting" in last_frame(said) and "no answer" not in last_frame(said))
            shown.press(b"q")
            assert await asyncio.to_thread(shown.end) == 0
