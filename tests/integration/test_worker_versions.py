"""Runs in flight over deploys that change their pipeline's graph, on real workers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from events import FINAL_STATUSES, AttemptOutcome, FailureKind, QueueReason, RunStatus, new_id
from storage.engine import transaction
from storage.records import RunRecord
from storage.replays import Replay, replay_runs
from storage.runs import get_run
from storage.versions import Move, move_runs
from tests.support.working import TENANT, Sent, Worker, Workshop, until, workshop
from throughline.cli import pipeline_list

pytestmark = pytest.mark.verify


@pytest.fixture
async def shop(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Workshop]:
    async with workshop(database_url, redis_url, tmp_path) as made:
        yield made


async def deploy(shop: Workshop, release: str) -> Worker:
    """Have workers of this release, and no others."""
    for worker in shop._workers:
        worker.kill()
    return await shop.worker(THROUGHLINE_PIPELINES_MODULES=f'["tests.support.releases.{release}"]')


async def under(shop: Workshop, release: str, sent: Sent) -> Worker:
    """Deploy, and have the run published."""
    worker = await deploy(shop, release)
    shop.publish("grown", [sent])
    return worker


async def half_done(shop: Workshop, *, fail_attempts: int = 1) -> Sent:
    """Store a run whose first node is done under release one, and whose second failed and is to be tried again."""
    [sent] = await shop.store("grown", fail_attempts=fail_attempts)
    await under(shop, "one", sent)
    await until(lambda: shop.in_status(sent, RunStatus.QUEUED), what="it is to be tried again")
    assert done(await read(shop, sent)) == {"first"}
    return sent


async def read(shop: Workshop, sent: Sent) -> RunRecord:
    """Read a run, also one that is not its event's first."""
    async with shop.engine.connect() as connection:
        story = await get_run(connection, tenant=TENANT, run_id=sent.run_id)
    assert story is not None
    return story.run


async def finished(shop: Workshop, sent: Sent) -> RunRecord:
    """Publish a run as often as it is queued, until it has ended."""

    async def ended() -> RunRecord | None:
        run = await read(shop, sent)
        if run.status is RunStatus.QUEUED:
            shop.publish("grown", [sent])
        return run if run.status in FINAL_STATUSES else None

    return await until(ended, what="the run ends", seconds=30.0)


async def left_to_others(shop: Workshop, sent: Sent) -> RunRecord:
    """Wait until a worker that is too old for a run has put it off."""

    async def deferred() -> RunRecord | None:
        run = await read(shop, sent)
        return run if run.reason is QueueReason.UNKNOWN_PIPELINE and run.status is RunStatus.QUEUED else None

    return await until(deferred, what="it is left to others", seconds=30.0)


async def replay(shop: Workshop, sent: Sent, *, version: int) -> Sent:
    """Do the API's part of a replay by code that has this version."""
    asked = Replay(origin=sent.run_id, run_id=new_id(), pipeline_version=version, queue="default", traceparent=None)
    async with transaction(shop.engine) as connection:
        made = await replay_runs(connection, tenant=TENANT, replays=[asked])
    return Sent(event_id=sent.event_id, run_id=made[sent.run_id])


async def versions(shop: Workshop, sent: Sent) -> tuple[int, int | None]:
    """Tell the version of a run, and of the event's data where that is another."""
    accepted = await shop.scalar(f"SELECT accepted_version FROM runs WHERE run_id = '{sent.run_id}'")
    return await shop.scalar(f"SELECT pipeline_version FROM runs WHERE run_id = '{sent.run_id}'"), accepted


def done(run: RunRecord) -> set[str]:
    return {node.node for node in run.nodes if node.status == "succeeded"}


def units(run: RunRecord) -> list[Any]:
    return [node.output for node in run.nodes if node.node == "measure"]


async def tried_again(shop: Workshop, sent: Sent) -> bool:
    run = await read(shop, sent)
    return run.attempt > 1 and run.status is RunStatus.QUEUED


def called(shop: Workshop, sent: Sent) -> list[str]:
    return [call.node for call in shop.calls(sent)]


async def test_a_run_goes_on_in_its_own_version_while_the_code_has_it(shop: Workshop) -> None:
    sent = await half_done(shop)
    [other] = await shop.store("grown", version=2)
    await under(shop, "both", sent)
    shop.publish("grown", [other])

    assert (await finished(shop, sent)).status is RunStatus.SUCCEEDED
    assert called(shop, sent) == ["first", "slow", "slow", "last"]
    assert await versions(shop, sent) == (1, None)
    assert (await finished(shop, other)).status is RunStatus.SUCCEEDED
    assert called(shop, other) == ["first", "slow", "check", "last"]


async def test_without_its_version_a_run_goes_on_in_a_graph_that_what_it_did_fits(shop: Workshop) -> None:
    sent = await half_done(shop)
    worker = await under(shop, "two", sent)

    assert (await finished(shop, sent)).status is RunStatus.SUCCEEDED
    assert called(shop, sent) == ["first", "slow", "slow", "check", "last"]
    assert await versions(shop, sent) == (2, 1)
    [line] = worker.logged("run is of another version of its pipeline")
    assert (line["outcome"], line["version"], line["known"]) == ("resumed", 1, 2)


async def test_what_is_done_within_nodes_is_not_done_again_in_a_newer_version(shop: Workshop) -> None:
    [sent] = await shop.store("grown", fail_attempts=1)
    await under(shop, "within_one", sent)
    await until(lambda: shop.in_status(sent, RunStatus.QUEUED), what="it is to be tried again")
    assert done(await read(shop, sent)) == {"first", "both", "check", "each"}
    await under(shop, "within_two", sent)
    assert (await finished(shop, sent)).status is RunStatus.SUCCEEDED
    within = ["refuse", "check", "each", "each", "each"]
    assert called(shop, sent) == ["first", *within, "slow", "slow", "opening", "last"]
    assert await versions(shop, sent) == (2, 1)


async def test_a_run_that_has_begun_nothing_goes_on_in_any_graph(shop: Workshop) -> None:
    [sent] = await shop.store("grown")
    await under(shop, "otherwise", sent)
    assert (await finished(shop, sent)).status is RunStatus.SUCCEEDED
    assert called(shop, sent) == ["opening", "slow", "last"]
    assert await versions(shop, sent) == (2, 1)


async def test_a_run_that_fits_no_graph_fails_and_says_why_and_is_replayed(shop: Workshop) -> None:
    sent = await half_done(shop)
    await under(shop, "otherwise", sent)
    run = await finished(shop, sent)

    assert (run.status, run.failure_kind) == (RunStatus.FAILED, FailureKind.INCOMPATIBLE)
    assert run.attempts[-1].outcome is AttemptOutcome.FAILED
    message = str((run.error or {})["message"])
    for word in ("version 1 of pipeline 'grown'", "(here: 2)", "version 2: node 'first' is done", "replay the run"):
        assert word in message
    assert called(shop, sent) == ["first", "slow"]
    assert await versions(shop, sent) == (1, None)

    again = await replay(shop, sent, version=2)
    assert (await finished(shop, again)).status is RunStatus.SUCCEEDED
    assert called(shop, again) == ["opening", "slow", "slow", "last"]


async def test_a_run_that_fits_no_graph_begins_again_where_the_pipeline_says_so(shop: Workshop) -> None:
    sent = await half_done(shop)
    await under(shop, "restarting", sent)
    run = await finished(shop, sent)

    assert run.status is RunStatus.SUCCEEDED
    assert called(shop, sent) == ["first", "slow", "opening", "slow", "last"]
    assert done(run) == {"opening", "slow", "last"}
    assert await versions(shop, sent) == (2, 1)


async def test_a_version_that_changed_without_a_new_number_is_told(shop: Workshop) -> None:
    sent = await half_done(shop)
    await under(shop, "forgotten", sent)
    run = await finished(shop, sent)

    assert run.failure_kind is FailureKind.INCOMPATIBLE
    message = str((run.error or {})["message"])
    assert "here version 1 has another graph: node 'first' is done" in message
    assert "give a changed graph a new version" in message


async def test_an_old_worker_leaves_a_run_of_a_newer_release_to_others(shop: Workshop) -> None:
    [newer] = await shop.store("grown", version=2)
    await under(shop, "one", newer)
    run = await left_to_others(shop, newer)
    assert run.attempts[-1].outcome is AttemptOutcome.HANDED_BACK
    assert called(shop, newer) == []


async def test_a_run_that_went_on_in_a_newer_version_does_not_fall_back(shop: Workshop) -> None:
    """In a rolling deploy the next claim may be an old worker's, whose graph lacks what the run has done since."""
    sent = await half_done(shop, fail_attempts=2)
    await under(shop, "two", sent)
    await until(lambda: tried_again(shop, sent), what="the second try failed, too")
    assert await versions(shop, sent) == (2, 1)
    await under(shop, "one", sent)
    await left_to_others(shop, sent)
    assert called(shop, sent) == ["first", "slow", "slow"]


async def test_two_deploys_later_data_passes_every_upcast_at_the_first_run_a_retry_and_a_replay(
    shop: Workshop,
) -> None:
    sent = await half_done(shop)
    [new] = await shop.store("grown", fail_attempts=1)
    await deploy(shop, "three")
    run = await finished(shop, sent)
    assert run.status is RunStatus.SUCCEEDED
    assert called(shop, sent) == ["first", "slow", "slow", "measure", "last"]
    assert units(run) == ["kg"]

    run = await finished(shop, new)
    assert run.attempt == 2
    assert units(run) == ["kg"]
    assert await versions(shop, new) == (3, 1)

    again = await replay(shop, sent, version=3)
    assert units(await finished(shop, again)) == ["kg"]
    once_more = await replay(shop, again, version=3)
    assert units(await finished(shop, once_more)) == ["kg"]
    assert await versions(shop, once_more) == (3, 1)


async def test_a_move_of_a_run_that_is_not_held_writes_nothing(shop: Workshop) -> None:
    sent = await half_done(shop)
    move = Move(tenant=TENANT, run_id=sent.run_id, attempt=1, version=2, forget=True)
    async with transaction(shop.engine) as connection:
        assert await move_runs(connection, [move]) == set()
    assert await versions(shop, sent) == (1, None)
    assert done(await read(shop, sent)) == {"first"}


async def test_the_open_runs_of_each_version_are_counted(shop: Workshop) -> None:
    await shop.store("grown", 2)
    await shop.store("grown", version=2)
    await shop.store("other")
    [ended] = await shop.store("grown", version=3, data={"log": str(shop.calls_path), "unit": "kg"})
    await under(shop, "three", ended)
    await finished(shop, ended)
    counted = await pipeline_list._open_runs(shop.settings.database)
    assert counted == {("grown", 1): 2, ("grown", 2): 1, ("other", 1): 1}
