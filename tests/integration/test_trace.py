import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from settings import DatabaseSettings
from storage.engine import create_engine, transaction
from tests.support.stories import REPLAY_TRACE, TRACE, Made, Stories
from throughline.cli.main import app


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def stories(engine: AsyncEngine) -> Stories:
    return Stories(engine)


Trace = Callable[..., Any]


@pytest.fixture
def trace(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Trace:
    """Runs ``throughline trace`` on the test's database, in a thread: it has a loop of its own."""
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", database_url)

    async def run(*arguments: object) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["trace", *map(str, arguments)])

    return run


async def a_whole_life(stories: Stories) -> tuple[Made, list[Any]]:
    """An event with a run that died, was retried and succeeded; one that failed and was replayed; one cancelled."""
    await stories.open_worker()
    made = await stories.event("lively", "failing", "unwanted")
    lively, failing, unwanted = made.run_ids
    await stories.claim(lively)
    await stories.die("was killed by SIGSEGV")
    await stories.open_worker(worker="worker-8@host#cd34ab12")
    await stories.retry(await stories.claim(lively), "middle", "not yet", delay=0.05)
    await stories.succeed(await stories.claim(lively), "middle", "last")
    await stories.fail(await stories.claim(failing), "only", "the price is\nmissing")
    await stories.cancel(unwanted, "sent twice")
    replay = await stories.replay(made, failing, node="only", kept=["before"])
    await stories.succeed(await stories.claim(replay), "only")
    return made, [lively, failing, unwanted, replay]


async def test_every_thing_that_befell_an_event_is_seen(stories: Stories, trace: Trace) -> None:
    made, (lively, failing, unwanted, replay) = await a_whole_life(stories)
    result = await trace(made.event_id)
    assert result.exit_code == 0, result.output
    said = result.output
    head, *by_run = said.split("\nrun ")
    assert f"event     {made.event_id}  succeeded" not in head, "one of its runs was cancelled"
    assert f"event     {made.event_id}  cancelled" in head
    assert f"trace     {TRACE}" in head
    of_run = {run.split()[0]: run for run in by_run}
    assert list(of_run) == [str(lively), str(failing), str(unwanted), str(replay)]

    lines = [line.split()[:3] for line in of_run[str(lively)].splitlines()[1:]]
    assert [words[:2] if words[0] == "attempt" else words[:1] for words in lines if words[0] != "on"] == [
        ["queued"],
        ["attempt", "1"],
        ["its"],
        ["queued"],
        ["attempt", "2"],
        ["RuntimeError"],
        ["before"],
        ["backoff"],
        ["queued"],
        ["attempt", "3"],
        ["middle"],
        ["last"],
    ]
    assert "its process was killed by SIGSEGV" in of_run[str(lively)]
    assert "on worker-8@host#cd34ab12  task task-1" in of_run[str(lively)]
    assert [words[2] for words in lines if words[0] == "attempt"] == ["lost", "retried", "succeeded"]

    assert "RuntimeError in only: the price is missing" in of_run[str(failing)]
    assert f"replayed by {replay}" in of_run[str(failing)]
    assert f"replay of {failing} from only" in of_run[str(replay)]
    assert f"trace     {REPLAY_TRACE}" in of_run[str(replay)]
    assert "cancel asked for at" in of_run[str(unwanted)]
    assert "sent twice" in of_run[str(unwanted)]
    assert "\x1b" not in said


async def test_a_run_is_found_by_its_own_id_and_names_those_it_belongs_to(stories: Stories, trace: Trace) -> None:
    made, (_, failing, _, replay) = await a_whole_life(stories)
    origin, repetition = await trace(failing), await trace(replay)
    assert f"event     {made.event_id}" in origin.output
    assert f"replayed by {replay}" in origin.output
    assert f"replay of {failing} from only" in repetition.output
    assert repetition.output.count("\nrun ") == 1


async def test_what_is_not_over_is_told_as_that(stories: Stories, trace: Trace) -> None:
    await stories.open_worker()
    made = await stories.event("held", "waiting", "patient")
    held, _, patient = made.run_ids
    await stories.claim(held)
    await stories.retry(await stories.claim(patient), "slow", "busy", delay=600)
    said = (await trace(made.event_id)).output
    assert "running" in said.split(str(held))[1].splitlines()[2]
    assert "waits in queue default: accepted" in said
    assert "waits in queue default: retry" in said
    last = said.split(str(patient))[1].rstrip().splitlines()[-2]
    assert last.split()[0] == "backoff"
    assert last.endswith(">")


async def test_links_are_shown_where_the_settings_have_them(
    stories: Stories, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THROUGHLINE_API_TRACE_URL_TEMPLATE", "http://traces.example/trace/{trace_id}")
    monkeypatch.setenv("THROUGHLINE_API_FLOWER_URL", "http://flower.example/")
    made, _ = await a_whole_life(stories)
    said = (await trace(made.event_id)).output
    assert f"http://traces.example/trace/{TRACE}" in said
    assert f"http://traces.example/trace/{REPLAY_TRACE}" in said
    assert "task http://flower.example/task/task-1" in said


async def test_as_json_it_is_what_the_api_answers(stories: Stories, trace: Trace) -> None:
    made, (lively, *_) = await a_whole_life(stories)
    event = json.loads((await trace(made.event_id, "--json")).output)
    assert event["event_id"] == str(made.event_id)
    assert [attempt["outcome"] for attempt in event["runs"][0]["attempts"]] == ["lost", "retried", "succeeded"]
    run = json.loads((await trace(lively, "--json")).output)
    assert (run["run_id"], run["event_id"]) == (str(lively), str(made.event_id))
    assert run["attempts"] == event["runs"][0]["attempts"]


async def test_the_beginning_of_an_id_is_enough_where_it_is_of_one_only(
    engine: AsyncEngine, stories: Stories, trace: Trace
) -> None:
    made = await stories.event("p")
    other = await stories.event("p")
    moved = f"ffff{str(other.event_id)[4:]}"
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM runs WHERE event_id = :id"), {"id": other.event_id})
        await connection.execute(
            text("UPDATE events SET event_id = :moved WHERE event_id = :id"), {"moved": moved, "id": other.event_id}
        )
    assert f"event     {moved}  " in (await trace("FFFF")).output
    assert f"event     {made.event_id}" in (await trace(str(made.event_id).replace("-", ""))).output
    ambiguous = await trace("0")
    assert ambiguous.exit_code == 1
    assert ambiguous.output.splitlines() == [
        f"throughline: more than one begins with 0: event {made.event_id}, run {made.run_ids[0]}, …"
    ]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("01a21361-f47d-757b-97f1-f1f153210b04", "no event and no run has the id"),
        ("xyz", "'xyz' is no id of an event or a run, nor the beginning of one"),
        ("", "'' is no id"),
        ("0" * 33, "is no id"),
    ],
)
async def test_an_id_that_is_unknown_or_none_is_one_line_and_1(trace: Trace, wanted: str, said: str) -> None:
    result = await trace(wanted)
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.splitlines()) == 1
