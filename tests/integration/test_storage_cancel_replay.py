import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Iterable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import AttemptOutcome, EventStatus, FailureKind, NodeStatus, QueueReason, RunStatus, new_id
from settings import DatabaseSettings
from storage import accounting, cancels, claims, due, ingest, leases, outcomes, queries, replays, runs, standing
from storage.dead import DeadFilter
from storage.engine import create_engine, transaction
from storage.records import ClaimedRun, NewEvent, NewRun, NodeResult, RunRecord, status_of
from tests.support.driver import Fetching

TENANT = "default"
PIPELINES = ("p0", "p1", "p2", "p3")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


async def store(engine: AsyncEngine, count: int = 1, *, runs_each: int = 1) -> list[NewEvent]:
    new = []
    for _ in range(count):
        event_id = new_id()
        made = tuple(
            NewRun(run_id=new_id(), pipeline=pipeline, pipeline_version=1, queue="default")
            for pipeline in PIPELINES[:runs_each]
        )
        event = NewEvent(
            tenant=TENANT,
            event_id=event_id,
            source="test",
            ce_id=str(event_id),
            type="t",
            subject=None,
            time=None,
            data="{}",
            content_hash=b"x" * 32,
            traceparent=None,
            runs=made,
        )
        new.append(event)
    async with transaction(engine) as connection:
        await ingest.store_events(Fetching(connection), new)
    return new


async def lease(engine: AsyncEngine) -> UUID:
    lease_id = new_id()
    async with transaction(engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="test:1", seconds=60)
    return lease_id


async def claim(engine: AsyncEngine, lease_id: UUID, *run_ids: UUID) -> list[ClaimedRun]:
    asked = claims.Claim(
        tenant=TENANT, run_ids=run_ids, span_ids=[None] * len(run_ids), lease_id=lease_id, task_id=None
    )
    async with transaction(engine) as connection:
        return await claims.claim_runs(connection, asked)


async def finish(
    engine: AsyncEngine, run: ClaimedRun, status: RunStatus, *, nodes: Iterable[tuple[str, NodeStatus]] = ()
) -> bool:
    retried = status is RunStatus.QUEUED
    writes = tuple(
        outcomes.NodeWrite(
            tenant=TENANT,
            run_id=run.run_id,
            attempt=run.attempt,
            output=f'"{node}"',
            error=None,
            result=NodeResult(
                node=node,
                item=0,
                attempt=run.attempt,
                status=node_status,
                output=None,
                error=None,
                started_at=datetime.now(UTC),
                duration_seconds=0.1,
                span_id=None,
            ),
        )
        for node, node_status in nodes
    )
    asked = outcomes.Finish(
        tenant=TENANT,
        run_id=run.run_id,
        attempt=run.attempt,
        status=status,
        outcome=AttemptOutcome.RETRIED if retried else AttemptOutcome(status.value),
        reason=QueueReason.RETRY if retried else None,
        kind=FailureKind.ERROR if status is RunStatus.FAILED else None,
        nodes=writes,
    )
    async with transaction(engine) as connection:
        return bool(await outcomes.finish_runs(connection, [asked]))


async def cancel(engine: AsyncEngine, *run_ids: UUID, reason: str = "enough") -> dict[UUID, RunStatus]:
    async with transaction(engine) as connection:
        return await cancels.request_cancel(connection, tenant=TENANT, run_ids=run_ids, reason=reason)


async def story(engine: AsyncEngine, run_id: UUID) -> runs.RunStory:
    async with engine.connect() as connection:
        found = await runs.get_run(connection, tenant=TENANT, run_id=run_id)
    assert found is not None
    return found


async def read(engine: AsyncEngine, run_id: UUID) -> RunRecord:
    return (await story(engine, run_id)).run


async def replay(engine: AsyncEngine, *origins: UUID, begin: replays.From | None = None) -> dict[UUID, UUID]:
    asked = [
        replays.Replay(origin=origin, run_id=new_id(), pipeline_version=2, queue="other", traceparent=None)
        for origin in origins
    ]
    async with transaction(engine) as connection:
        for origin in origins:
            found = await runs.get_run(connection, tenant=TENANT, run_id=origin)
            assert found is not None
            assert await replays.take_turn(connection, tenant=TENANT, event_id=found.event_id)
        return await replays.replay_runs(connection, tenant=TENANT, replays=asked, begin=begin)


async def replay_dead(engine: AsyncEngine, *, most: int = 100) -> dict[UUID, UUID]:
    matching = DeadFilter(pipelines=PIPELINES)
    async with transaction(engine) as connection:
        dead = await replays.take_dead(connection, tenant=TENANT, matching=matching, most=most)
        asked = [
            replays.Replay(origin=run.run_id, run_id=new_id(), pipeline_version=1, queue="default", traceparent=None)
            for run in dead
        ]
        return await replays.replay_runs(connection, tenant=TENANT, replays=asked)


async def failed_run(engine: AsyncEngine, *, nodes: Iterable[tuple[str, NodeStatus]] = ()) -> UUID:
    [event] = await store(engine)
    [run] = await claim(engine, await lease(engine), event.runs[0].run_id)
    await finish(engine, run, RunStatus.FAILED, nodes=nodes)
    return run.run_id


async def balanced(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        total, final = (await connection.execute(text("SELECT count(*), count(finished_at) FROM runs"))).one()
        account = await accounting.balance(connection)
    assert (account.accepted, account.final) == (total, final)


async def test_a_queued_run_ends_at_once_and_is_never_claimed(engine: AsyncEngine) -> None:
    [event] = await store(engine)
    run_id = event.runs[0].run_id
    assert await cancel(engine, run_id) == {run_id: RunStatus.CANCELLED}
    assert await cancel(engine, run_id, reason="again") == {}
    assert await claim(engine, await lease(engine), run_id) == []
    run = await read(engine, run_id)
    assert (run.status, run.reason, run.cancel_reason) == (RunStatus.CANCELLED, None, "enough")
    assert run.finished_at is not None
    await balanced(engine)


@pytest.mark.parametrize("what", ["retry", "isolated"])
async def test_a_run_that_waits_for_another_try_or_the_cell_ends_at_once(engine: AsyncEngine, what: str) -> None:
    [event] = await store(engine)
    run_id = event.runs[0].run_id
    if what == "retry":
        [claimed] = await claim(engine, await lease(engine), run_id)
        assert await finish(engine, claimed, RunStatus.QUEUED)
    else:
        for _ in range(leases.FREE_DEATHS):
            holder = await lease(engine)
            await claim(engine, holder, run_id)
            async with transaction(engine) as connection:
                await leases.end_lease(connection, holder)
            async with transaction(engine) as connection:
                await leases.free_runs(connection, [holder], died=True)
    waiting = await read(engine, run_id)
    assert (waiting.status, waiting.reason) == (RunStatus.QUEUED, what)
    assert await cancel(engine, run_id) == {run_id: RunStatus.CANCELLED}
    async with transaction(engine) as connection:
        for queue in ("default", "cell"):
            _, taken = await due.take_due(connection, queue, most=9, lease=9.0)
            assert taken == []
    await balanced(engine)


async def test_a_running_run_is_asked_and_its_first_reason_stands(engine: AsyncEngine) -> None:
    [event, other] = await store(engine, 2)
    run_id, holder = event.runs[0].run_id, await lease(engine)
    await claim(engine, holder, run_id, other.runs[0].run_id)
    for reason in ("first", "second"):
        assert await cancel(engine, run_id, reason=reason) == {run_id: RunStatus.RUNNING}
    async with engine.connect() as connection:
        assert await cancels.requested_cancels(connection, holder) == [
            cancels.RequestedCancel(run_id=run_id, attempt=1, reason="first")
        ]
        assert await cancels.requested_cancels(connection, new_id()) == []
    run = await read(engine, run_id)
    assert (run.status, run.finished_at) == (RunStatus.RUNNING, None)


@pytest.mark.parametrize(
    ("status", "stands", "outcome"),
    [
        (RunStatus.QUEUED, RunStatus.CANCELLED, AttemptOutcome.CANCELLED),
        (RunStatus.SUCCEEDED, RunStatus.SUCCEEDED, AttemptOutcome.SUCCEEDED),
        (RunStatus.FAILED, RunStatus.FAILED, AttemptOutcome.FAILED),
    ],
)
async def test_a_try_that_ends_after_the_request_is_not_tried_again_but_keeps_its_end(
    engine: AsyncEngine, status: RunStatus, stands: RunStatus, outcome: AttemptOutcome
) -> None:
    [event] = await store(engine)
    [claimed] = await claim(engine, await lease(engine), event.runs[0].run_id)
    await cancel(engine, claimed.run_id)
    assert await finish(engine, claimed, status)
    run = await read(engine, claimed.run_id)
    assert (run.status, run.reason, run.attempts[0].outcome) == (stands, None, outcome)
    assert run.finished_at is not None
    await balanced(engine)


@pytest.mark.parametrize(("died", "outcome"), [(True, AttemptOutcome.LOST), (False, AttemptOutcome.CANCELLED)])
async def test_a_run_that_loses_its_worker_after_the_request_is_cancelled(
    engine: AsyncEngine, died: bool, outcome: AttemptOutcome
) -> None:
    [event] = await store(engine)
    holder = await lease(engine)
    [claimed] = await claim(engine, holder, event.runs[0].run_id)
    await cancel(engine, claimed.run_id)
    async with transaction(engine) as connection:
        await leases.end_lease(connection, holder)
    async with transaction(engine) as connection:
        [freed] = await leases.free_runs(connection, [holder], died=died)
    assert freed.cancelled
    run = await read(engine, claimed.run_id)
    assert (run.status, run.reason, run.attempts[0].outcome) == (RunStatus.CANCELLED, None, outcome)
    await balanced(engine)


async def test_cancels_that_race_with_claims_and_finishes_end_each_run_once(engine: AsyncEngine) -> None:
    events = await store(engine, 60)
    holder = await lease(engine)
    generator = random.Random(3)

    async def work(run_id: UUID) -> None:
        await asyncio.sleep(generator.random() / 20)
        for run in await claim(engine, holder, run_id):
            await asyncio.sleep(generator.random() / 50)
            await finish(engine, run, generator.choice([RunStatus.SUCCEEDED, RunStatus.QUEUED, RunStatus.FAILED]))

    async def stop(run_id: UUID) -> None:
        await asyncio.sleep(generator.random() / 20)
        await cancel(engine, run_id)

    limit = asyncio.Semaphore(4)

    async def bounded(action: Awaitable[None]) -> None:
        async with limit:
            await action

    run_ids = [event.runs[0].run_id for event in events]
    await asyncio.gather(*(bounded(make(run_id)) for run_id in run_ids for make in (work, stop)))
    ends = [(await read(engine, run_id)).status for run_id in run_ids]
    # Every run was cancelled, or had ended before; one that was to be tried again was not.
    assert set(ends) <= {RunStatus.CANCELLED, RunStatus.SUCCEEDED, RunStatus.FAILED}
    assert RunStatus.CANCELLED in ends
    await balanced(engine)


async def test_a_replay_is_a_new_run_that_names_its_origin(engine: AsyncEngine) -> None:
    origin = await failed_run(engine, nodes=[("a", NodeStatus.SUCCEEDED), ("b", NodeStatus.FAILED)])
    made = (await replay(engine, origin))[origin]
    run = await read(engine, made)
    assert (run.status, run.reason, run.replay_of, run.replay_from) == (
        RunStatus.QUEUED,
        QueueReason.REPLAYED,
        origin,
        None,
    )
    assert (run.pipeline, run.pipeline_version, run.queue, run.attempt, run.nodes) == ("p0", 2, "other", 0, ())
    before = await story(engine, origin)
    assert (before.run.status, before.replayed_by) == (RunStatus.FAILED, made)
    await balanced(engine)


async def test_a_replay_from_a_node_takes_over_the_kept_nodes_that_succeeded(engine: AsyncEngine) -> None:
    nodes = [("a", NodeStatus.SUCCEEDED), ("b", NodeStatus.FAILED), ("c", NodeStatus.SUCCEEDED)]
    origin = await failed_run(engine, nodes=nodes)
    made = (await replay(engine, origin, begin=replays.From(node="c", kept=frozenset({"a", "b"}))))[origin]
    run = await read(engine, made)
    assert run.replay_from == "c"
    assert [(node.node, node.attempt, node.output) for node in run.nodes] == [("a", 0, "a")]
    [claimed] = await claim(engine, await lease(engine), made)
    assert (claimed.attempt, claimed.replay_of, claimed.replay_from) == (1, origin, "c")
    async with engine.connect() as connection:
        done = await claims.done_nodes(connection, tenant=TENANT, run_ids=[made])
    assert [node.node for node in done[made]] == ["a"]


async def test_a_run_under_way_and_one_that_was_replayed_are_not_replayed(engine: AsyncEngine) -> None:
    [event] = await store(engine)
    assert await replay(engine, event.runs[0].run_id) == {}
    origin = await failed_run(engine)
    [made] = (await replay(engine, origin)).values()
    assert await replay(engine, origin) == {}
    await cancel(engine, made)
    assert list(await replay(engine, made)) == [made]


async def test_replays_that_race_make_one_run_of_each(engine: AsyncEngine) -> None:
    origins = [await failed_run(engine) for _ in range(12)]
    singles = [replay(engine, origin) for origin in origins[:6]]
    answers = await asyncio.gather(*(replay_dead(engine) for _ in range(4)), *singles)
    answers += [await replay_dead(engine)]
    made = [origin for answer in answers for origin in answer]
    assert sorted(made) == sorted(origins)
    await balanced(engine)


async def test_dead_runs_are_counted_and_taken_in_batches_until_none_is_left(engine: AsyncEngine) -> None:
    origins = [await failed_run(engine) for _ in range(5)]
    matching = DeadFilter(pipelines=PIPELINES, failure_kind=FailureKind.ERROR, type="t")
    async with engine.connect() as connection:
        assert await replays.count_dead(connection, tenant=TENANT, matching=matching) == {"p0": 5}
        sample = await replays.sample_dead(connection, tenant=TENANT, matching=matching, most=2)
        assert [run.run_id for run in sample] == sorted(origins)[:2]
        for changed in (
            DeadFilter(pipelines=("p1",)),
            DeadFilter(pipelines=PIPELINES, type="u"),
            DeadFilter(pipelines=PIPELINES, failure_kind=FailureKind.TIMEOUT),
            DeadFilter(pipelines=PIPELINES, after=datetime(2100, 1, 1, tzinfo=UTC)),
            DeadFilter(pipelines=PIPELINES, before=datetime(2000, 1, 1, tzinfo=UTC)),
        ):
            assert await replays.count_dead(connection, tenant=TENANT, matching=changed) == {}
        assert (await standing.standing_counts(connection))[0] == 5
    assert [len(await replay_dead(engine, most=2)) for _ in range(4)] == [2, 2, 1, 0]
    async with engine.connect() as connection:
        assert await replays.count_dead(connection, tenant=TENANT, matching=matching) == {}
        assert (await standing.standing_counts(connection))[0] == 0


async def test_an_event_that_nobody_took_is_routed_by_its_replay(engine: AsyncEngine) -> None:
    [event] = await store(engine, runs_each=0)
    route = replays.NewRoute(run_id=new_id(), pipeline="p0", pipeline_version=1, queue="default", traceparent=None)
    async with transaction(engine) as connection:
        assert (await standing.standing_counts(connection))[1] == 1
        assert await replays.take_turn(connection, tenant=TENANT, event_id=event.event_id)
        assert not await replays.take_turn(connection, tenant=TENANT, event_id=new_id())
        await replays.route_again(connection, tenant=TENANT, event_id=event.event_id, routes=[route])
    run = await read(engine, route.run_id)
    assert (run.status, run.reason, run.replay_of) == (RunStatus.QUEUED, QueueReason.REPLAYED, None)
    async with engine.connect() as connection:
        found = await queries.get_event(connection, tenant=TENANT, event_id=event.event_id)
        assert (await standing.standing_counts(connection))[1] == 0
    assert found is not None
    assert found.status is EventStatus.QUEUED
    await balanced(engine)


async def test_the_status_of_events_is_told_and_found_by_the_runs_that_stand(engine: AsyncEngine) -> None:
    generator = random.Random(11)
    events = [event for each in range(4) for event in await store(engine, 15, runs_each=each)]
    holder = await lease(engine)
    waiting = [run.run_id for event in events for run in event.runs]
    while waiting:
        run_id = waiting.pop()
        status = generator.choice(list(RunStatus))
        if status is not RunStatus.QUEUED:
            [claimed] = await claim(engine, holder, run_id)
        if status in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}:
            await finish(engine, claimed, status)
            if generator.random() < 0.5:
                waiting += (await replay(engine, run_id)).values()
    listed = {}
    async with engine.connect() as connection:
        for status in set(EventStatus) - {EventStatus.AWAITED}:
            matching = queries.EventFilter(status=status)
            listed[status] = await queries.list_events(
                connection, tenant=TENANT, matching=matching, cursor=None, limit=100
            )
    assert all(listed.values())
    for status, found in listed.items():
        assert {event.status for event in found} == {status}
        assert all(status_of(event.runs) is status for event in found)
    assert sum(len(found) for found in listed.values()) == len(events)


async def test_runs_are_listed_newest_first_and_the_dead_ones_alone(engine: AsyncEngine) -> None:
    dead = [await failed_run(engine) for _ in range(3)]
    [event] = await store(engine)
    made = (await replay(engine, dead[0]))[dead[0]]

    async def listed(cursor: UUID | None = None, limit: int = 10, **matching: object) -> list[UUID]:
        asked = runs.RunFilter(**matching)  # type: ignore[arg-type]  # the test names real fields
        async with engine.connect() as connection:
            found = await runs.list_runs(connection, tenant=TENANT, matching=asked, cursor=cursor, limit=limit)
        return [item.run_id for item in found]

    everything = sorted([*dead, event.runs[0].run_id, made], reverse=True)
    assert await listed() == everything
    assert await listed(cursor=everything[1], limit=2) == everything[2:4]
    assert await listed(status=RunStatus.FAILED, replayed=False) == [dead[2], dead[1]]
    assert await listed(status=RunStatus.FAILED, replayed=True) == [dead[0]]
    assert await listed(failure_kind=FailureKind.ERROR, pipeline="p0", type="t") == sorted(dead, reverse=True)
    assert await listed(after=datetime(2100, 1, 1, tzinfo=UTC)) == []
