import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import EventStatus, QueueReason, RunStatus, new_id
from pipelines.paths import Attributes, value_at
from settings import DatabaseSettings
from storage import cancels, matching, queries, replays, retention
from storage.awaited import Kind, store_missing_keys
from storage.engine import create_engine, transaction
from storage.outcomes import finish_runs
from storage.waits import LastLook, Waited, take_last_look, waits_of
from tests.support import waiting as do
from tests.support.waiting import PATH, TENANT, TYPE, Started

DAY = 86_400.0


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


async def waits(engine: AsyncEngine, *started: Started, **how: Any) -> list[Started]:
    """Let runs begin to wait."""
    await do.finish(engine, *(do.waiting(one, **how) for one in started))
    return list(started)


async def resumed(engine: AsyncEngine, run_id: UUID) -> tuple[Waited, LastLook]:
    """Claim a run and read its wait as a worker does, with a last look."""
    assert len(await do.claim(engine, [run_id])) == 1
    async with transaction(engine) as connection:
        last = await take_last_look(connection, tenant=TENANT, run_ids=[run_id])
        found = await waits_of(connection, tenant=TENANT, run_ids=[run_id])
    return found[run_id]["paid"], last


@pytest.mark.parametrize("order", ["EWL", "WEL", "ELWL", "WLEL", "LEWL", "LWEL", "LELWL", "LWLEL", "EWLL", "LLELWLL"])
@pytest.mark.parametrize("begun", ["EW", "WE"])
async def test_an_event_and_a_wait_that_commit_at_one_moment_find_each_other_in_whatever_order(
    engine: AsyncEngine, order: str, begun: str
) -> None:
    """Both are written and neither is committed (E, W: they commit) while relays look (L)."""
    for number in range(3):
        name = str(number)
        (started,) = await do.start(engine, order=name)
        new = do.an_event(kind=TYPE, order=name)
        async with engine.connect() as event, engine.connect() as wait:
            for which in begun:
                if which == "E":
                    await do.store(event, new)
                else:
                    await finish_runs(wait, [do.waiting(started, order=name)])
            for step in order:
                if step == "L":
                    await do.look(engine)
                else:
                    await (event if step == "E" else wait).commit()
        found = await do.stands(engine, started.run_id)
        assert (found.event_id, found.ended, found.is_due) == (new.event_id, True, True)
        assert not await do.look(engine)


async def test_what_commits_while_a_relay_looks_is_found_by_the_next_look(engine: AsyncEngine) -> None:
    """The look's snapshot is older than the commit, and its transaction ends after it."""
    (started,) = await waits(engine, *await do.start(engine))
    async with engine.connect() as looking, engine.connect() as other:
        assert await matching.take_turn(looking)
        assert not (await matching.match(looking, most=10)).matches
        event_id = await do.arrive(engine)
        assert not await matching.take_turn(other), "no two relays look at once"
        await looking.commit()
    assert [match.event_id for match in await do.look(engine)] == [event_id]
    assert (await do.stands(engine, started.run_id)).is_due


async def test_an_event_that_came_before_its_run_waited_and_after_it_was_made_is_found(engine: AsyncEngine) -> None:
    before = await do.arrive(engine)
    (started,) = await do.start(engine)
    early = await do.arrive(engine)
    await do.look(engine)
    await waits(engine, started)
    (match,) = await do.look(engine)
    assert (match.run_id, match.event_id) == (started.run_id, early)
    assert match.event_id != before
    found = await do.stands(engine, started.run_id)
    assert (found.status, found.reason, found.is_due) == (RunStatus.QUEUED, QueueReason.WAITING, True)


async def test_a_runs_own_event_and_one_of_another_type_path_or_key_are_not_what_it_waits_for(
    engine: AsyncEngine,
) -> None:
    (started,) = await do.start(engine, kind=TYPE)
    await waits(engine, started)
    await do.arrive(engine, order="2")
    async with transaction(engine) as connection:
        await do.store(connection, do.an_event(kind="order.lost"))
    assert not await do.look(engine)
    assert not (await do.stands(engine, started.run_id)).is_due


async def test_of_events_in_one_commit_a_run_of_the_first_finds_the_second_and_not_the_other_way_round(
    engine: AsyncEngine,
) -> None:
    pair = [do.an_event(kind=TYPE, runs=1), do.an_event(kind=TYPE, runs=1)]
    async with transaction(engine) as connection:
        await do.store(connection, *pair)
    first, second = await do.claim(engine, [event.runs[0].run_id for event in pair])
    await waits(engine, first, second)
    (match,) = await do.look(engine)
    assert (match.run_id, match.event_id) == (pair[0].runs[0].run_id, pair[1].event_id)


async def test_one_event_ends_all_waits_for_it_however_few_are_taken_at_once(engine: AsyncEngine) -> None:
    started = await waits(engine, *await do.start(engine, 7))
    await do.look(engine)
    event_id = await do.arrive(engine)
    found: list[matching.Match] = []
    while some := await do.look(engine, most=3):
        assert len(some) <= 3
        found += some
    assert {match.run_id for match in found} == {one.run_id for one in started}
    assert {match.event_id for match in found} == {event_id}
    assert await do.value(engine, "SELECT count(*) FROM event_keys WHERE NOT probed") == 0


async def test_a_wait_is_ended_by_the_oldest_event_and_the_next_wait_of_its_run_by_the_next(
    engine: AsyncEngine,
) -> None:
    (started,) = await do.start(engine)
    first, second = await do.arrive(engine), await do.arrive(engine)
    await waits(engine, started)
    assert [match.event_id for match in await do.look(engine)] == [first]
    (again,) = await do.claim(engine, [started.run_id])
    await do.finish(engine, do.waiting(again, node="paid again"))
    assert [match.event_id for match in await do.look(engine)] == [second]
    (once_more,) = await do.claim(engine, [started.run_id])
    await do.finish(engine, do.waiting(once_more, node="paid a third time"))
    assert not await do.look(engine)


async def test_a_wait_that_goes_on_keeps_its_time_and_is_looked_at_again(engine: AsyncEngine) -> None:
    """Its run was claimed before its time, as after a change of its lifetime, and the event came meanwhile."""
    (started,) = await waits(engine, *await do.start(engine), seconds=600.0)
    until = await do.value(engine, "SELECT until FROM waits")
    await do.look(engine)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE runs SET available_at = now(), publish_at = now()"))
    (again,) = await do.claim(engine, [started.run_id])
    event_id = await do.arrive(engine)
    assert not await do.look(engine), "a run that is under way is left alone"
    await waits(engine, again, seconds=9000.0)
    assert await do.value(engine, "SELECT until FROM waits") == until
    assert [match.event_id for match in await do.look(engine)] == [event_id]


async def test_when_the_time_is_over_the_wait_has_no_event_and_one_that_comes_later_changes_nothing(
    engine: AsyncEngine,
) -> None:
    (started,) = await waits(engine, *await do.start(engine))
    await do.over(engine, started.run_id)
    late = await do.arrive(engine)
    assert not await do.look(engine), "it came when the time was over"
    wait, last = await resumed(engine, started.run_id)
    assert (wait.event, wait.remaining, last) == (None, 0.0, LastLook(matched=0, timed_out=1))
    assert not await do.look(engine)
    found = await do.stands(engine, started.run_id)
    assert (found.ended, found.event_id) == (True, None)
    assert late is not None


async def test_the_last_look_finds_what_no_relay_has_looked_at(engine: AsyncEngine) -> None:
    (started,) = await waits(engine, *await do.start(engine))
    event_id = await do.arrive(engine)
    await do.over(engine, started.run_id)
    wait, last = await resumed(engine, started.run_id)
    assert do.event_of(event_id, wait.event)
    assert last == LastLook(matched=1, timed_out=0)
    assert not await do.look(engine)


@pytest.mark.parametrize("filled", [False, True])
async def test_an_event_of_an_older_api_is_found_when_the_wait_begins_and_at_the_latest_when_it_ends(
    engine: AsyncEngine, filled: bool
) -> None:
    (started,) = await do.start(engine)
    event_id = await do.arrive(engine, keyed=False)
    await waits(engine, started)
    found = await do.look(engine, fill=filled)
    assert [match.event_id for match in found] == [event_id] * filled
    if not filled:
        await do.over(engine, started.run_id)
    wait, _ = await resumed(engine, started.run_id)
    assert do.event_of(event_id, wait.event)
    async with transaction(engine) as connection:
        record = await queries.get_event(connection, tenant=TENANT, event_id=event_id)
    assert record is not None
    assert record.status is EventStatus.AWAITED


@pytest.mark.parametrize("value", ["17", 17, True, False, 1.5, "ä" * 300, None, [1], {"a": 1}])
async def test_a_key_that_is_made_later_is_the_one_that_the_api_makes(engine: AsyncEngine, value: Any) -> None:
    (started,) = await do.start(engine)
    await do.arrive(engine, order=value, keyed=False, subject="s" * 300)
    for path in (PATH, "subject", "source", "type", "data.order.deeper"):
        kind = Kind(TENANT, TYPE, path)
        async with transaction(engine) as connection:
            await store_missing_keys(connection, [(kind, started.run.event.received_at)])
            again = await store_missing_keys(connection, [(kind, started.run.event.received_at)])
            found = (
                await connection.execute(text("SELECT key FROM event_keys WHERE path = :path"), {"path": path})
            ).scalars()
        expected = value_at(path, Attributes(TYPE, "test", "s" * 300, {"order": value}))
        assert list(found) == ([] if expected is None else [expected])
        assert again == 0


async def test_a_cancelled_run_waits_no_more(engine: AsyncEngine) -> None:
    (started,) = await waits(engine, *await do.start(engine))
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[started.run_id], reason=None)
    await do.arrive(engine)
    assert not await do.look(engine)
    found = await do.stands(engine, started.run_id)
    assert (found.status, found.ended) == (RunStatus.CANCELLED, False)
    assert await do.value(engine, "SELECT count(*) FROM event_keys WHERE NOT probed") == 0


async def test_a_cancel_that_waits_for_the_look_finds_the_run_due_and_ends_it(engine: AsyncEngine) -> None:
    (started,) = await waits(engine, *await do.start(engine))
    await do.arrive(engine)
    async with engine.connect() as looking:
        assert await matching.take_turn(looking)
        assert len((await matching.match(looking, most=10)).matches) == 1

        async def cancel() -> None:
            async with transaction(engine) as connection:
                await cancels.request_cancel(connection, tenant=TENANT, run_ids=[started.run_id], reason=None)

        cancelling = asyncio.create_task(cancel())
        while not await do.value(engine, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await looking.commit()
        await cancelling
    found = await do.stands(engine, started.run_id)
    assert (found.status, found.ended) == (RunStatus.CANCELLED, True)


async def test_a_run_that_was_asked_to_end_while_it_ran_begins_no_wait(engine: AsyncEngine) -> None:
    (started,) = await do.start(engine)
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[started.run_id], reason=None)
    (moved,) = (await do.finish(engine, do.waiting(started))).values()
    assert moved.status is RunStatus.CANCELLED
    assert await do.value(engine, "SELECT count(*) FROM waits") == 0


async def test_a_try_that_lost_its_run_begins_no_wait(engine: AsyncEngine) -> None:
    (started,) = await do.start(engine)
    await waits(engine, started)
    assert not await do.finish(engine, do.waiting(started, node="another"))
    assert await do.value(engine, "SELECT count(*) FROM waits") == 1


async def test_a_sleeping_run_is_not_claimed_before_its_time(engine: AsyncEngine) -> None:
    (started,) = await do.start(engine)
    await do.finish(engine, do.sleeping(started))
    assert not await do.claim(engine, [started.run_id])
    found = await do.stands(engine, started.run_id, node="night")
    assert (found.status, found.reason, found.is_due) == (RunStatus.QUEUED, QueueReason.SLEEPING, False)
    await do.over(engine, started.run_id)
    assert len(await do.claim(engine, [started.run_id])) == 1
    async with transaction(engine) as connection:
        assert await take_last_look(connection, tenant=TENANT, run_ids=[started.run_id]) == LastLook(
            matched=0, timed_out=0
        )
        found_again = await waits_of(connection, tenant=TENANT, run_ids=[started.run_id])
    assert found_again[started.run_id]["night"].remaining == 0


async def test_a_replay_from_behind_a_wait_takes_it_over_and_finds_other_events_alone(engine: AsyncEngine) -> None:
    (started,) = await do.start(engine)
    first = await do.arrive(engine)
    await waits(engine, started)
    assert len(await do.look(engine)) == 1
    (again,) = await do.claim(engine, [started.run_id])
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[started.run_id], reason=None)
    await do.finish(engine, do.waiting(again, node="paid again"))
    new_run = new_id()
    async with transaction(engine) as connection:
        await replays.replay_runs(
            connection,
            tenant=TENANT,
            replays=[
                replays.Replay(
                    origin=started.run_id, run_id=new_run, pipeline_version=1, queue="default", traceparent=None
                )
            ],
            begin=replays.From(node="paid again", kept=frozenset({"paid"})),
        )
    (repeated,) = await do.claim(engine, [new_run])
    await do.finish(engine, do.waiting(repeated, node="paid again"))
    assert not await do.look(engine), "the event that the first wait was ended by ends no second one"
    second = await do.arrive(engine)
    assert [match.event_id for match in await do.look(engine)] == [second]
    async with transaction(engine) as connection:
        record = await queries.get_event(connection, tenant=TENANT, event_id=first)
    assert record is not None
    assert {wait.run_id for wait in record.ended_waits} == {started.run_id, new_run}


async def test_a_replay_finds_the_event_that_ended_its_origins_wait(engine: AsyncEngine) -> None:
    (started,) = await do.start(engine)
    event_id = await do.arrive(engine)
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[started.run_id], reason=None)
    await do.finish(engine, do.waiting(started))
    new_run = new_id()
    async with transaction(engine) as connection:
        await replays.replay_runs(
            connection,
            tenant=TENANT,
            replays=[
                replays.Replay(
                    origin=started.run_id, run_id=new_run, pipeline_version=1, queue="default", traceparent=None
                )
            ],
        )
    (repeated,) = await do.claim(engine, [new_run])
    await waits(engine, repeated)
    assert [match.event_id for match in await do.look(engine)] == [event_id]


async def test_an_awaited_event_goes_by_age_unless_a_run_under_way_was_waked_by_it(engine: AsyncEngine) -> None:
    (started,) = await do.start(engine)
    needed, other = await do.arrive(engine), await do.arrive(engine, order="2")
    await waits(engine, started)
    assert len(await do.look(engine)) == 1

    async def remove() -> int:
        async with transaction(engine) as connection:
            return (await retention.remove_awaited(connection, age=30 * DAY, most=10)).events

    assert await remove() == 0
    async with transaction(engine) as connection:
        await connection.execute(
            text("UPDATE events SET received_at = received_at - interval '40 days' WHERE routes < 0")
        )
    assert await remove() == 1
    assert await do.value(engine, "SELECT event_id FROM events WHERE routes < 0") == needed
    assert await do.value(engine, "SELECT count(*) FROM event_keys WHERE event_id = :id", id=other) == 0
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[started.run_id], reason=None)
    assert await remove() == 1


async def test_an_event_with_its_waits_goes_as_a_whole(engine: AsyncEngine) -> None:
    (started,) = await waits(engine, *await do.start(engine))
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[started.run_id], reason=None)
        await connection.execute(
            text("UPDATE runs SET created_at = now() - interval '41 days', finished_at = now() - interval '40 days'")
        )
    async with transaction(engine) as connection:
        assert (await retention.remove_ended(connection, age=30 * DAY, most=10)).events == 1
    assert await do.value(engine, "SELECT count(*) FROM waits") == 0


async def test_two_relays_that_look_at_once_end_each_wait_once_and_lose_none(engine: AsyncEngine) -> None:
    started = [one for number in range(40) for one in await do.start(engine, order=str(number))]

    async def relay() -> list[matching.Match]:
        found: list[matching.Match] = []
        while not done.is_set():
            async with transaction(engine) as connection:
                if await matching.take_turn(connection):
                    found += (await matching.match(connection, most=7)).matches
            await asyncio.sleep(0)
        return found

    async def wait_for_all() -> None:
        for number, one in enumerate(started):
            await waits(engine, one, order=str(number))

    async def pay_all() -> None:
        for number in range(len(started)):
            await do.arrive(engine, order=str(number))

    done = asyncio.Event()
    relays = [asyncio.create_task(relay()) for _ in range(2)]
    await asyncio.gather(wait_for_all(), pay_all())
    while await do.value(engine, "SELECT count(*) FROM waits WHERE ended_at IS NULL"):
        assert not any(task.done() for task in relays)
        await asyncio.sleep(0.02)
    done.set()
    ended = [match.run_id for found in await asyncio.gather(*relays) for match in found]
    assert sorted(ended) == sorted(one.run_id for one in started)
