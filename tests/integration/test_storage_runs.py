import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from events import (
    AttemptOutcome,
    EventStatus,
    FailureKind,
    NodeStatus,
    QueueReason,
    RunStatus,
    event_status,
    new_id,
)
from settings import DatabaseSettings
from storage import claims, ingest, leases, outcomes, queries
from storage.engine import create_engine, is_unavailable, refused_state, transaction
from storage.records import ClaimedRun, EventRecord, NewEvent, NewRun, NodeResult, StoredEvent
from tests.support.driver import Fetching

TENANT = "default"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


_COLUMNS = ("tenant", "source", "type", "subject", "time", "data", "runs")


def an_event(*, ce_id: str | None = None, data: str = "{}", runs: int = 1, kind: str = "t") -> NewEvent:
    event_id = new_id()
    return NewEvent(
        tenant=TENANT,
        event_id=event_id,
        source="test",
        ce_id=ce_id or str(event_id),
        type=kind,
        subject=None,
        time=None,
        data=data,
        content_hash=data.encode().ljust(32)[:32],
        traceparent=None,
        runs=tuple(
            NewRun(run_id=new_id(), pipeline=f"p{number}", pipeline_version=1, queue="default")
            for number in range(runs)
        ),
    )


async def store(engine: AsyncEngine, *new: NewEvent) -> list[StoredEvent]:
    async with transaction(engine) as connection:
        return await ingest.store_events(Fetching(connection), new)


async def lease(engine: AsyncEngine, *, seconds: float = 60.0) -> UUID:
    lease_id = new_id()
    async with transaction(engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="test:1", seconds=seconds)
    return lease_id


async def claim(engine: AsyncEngine, lease_id: UUID, *run_ids: UUID) -> list[ClaimedRun]:
    asked = claims.Claim(
        tenant=TENANT, run_ids=run_ids, span_ids=["00f067aa0ba902b7"] * len(run_ids), lease_id=lease_id, task_id="task"
    )
    async with transaction(engine) as connection:
        return await claims.claim_runs(connection, asked)


def finish(
    run: ClaimedRun, status: RunStatus = RunStatus.SUCCEEDED, outcome: AttemptOutcome | None = None, **changes: object
) -> outcomes.Finish:
    return outcomes.Finish(
        tenant=TENANT,
        run_id=run.run_id,
        attempt=run.attempt,
        status=status,
        outcome=outcome or AttemptOutcome(status.value),
        **changes,  # type: ignore[arg-type]  # the tests name real fields
    )


def node_write(run: ClaimedRun, node: str, status: NodeStatus, output: str | None) -> outcomes.NodeWrite:
    result = NodeResult(
        node=node,
        item=0,
        attempt=run.attempt,
        status=status,
        output=None,
        error=None,
        started_at=datetime.now(UTC),
        duration_seconds=0.1,
        span_id=None,
    )
    return outcomes.NodeWrite(
        tenant=TENANT, run_id=run.run_id, attempt=run.attempt, result=result, output=output, error=None
    )


async def finished(engine: AsyncEngine, *finishes: outcomes.Finish) -> set[tuple[UUID, int]]:
    async with transaction(engine) as connection:
        return set(await outcomes.finish_runs(connection, finishes))


async def read(engine: AsyncEngine, event_id: UUID) -> EventRecord:
    async with engine.connect() as connection:
        record = await queries.get_event(connection, tenant=TENANT, event_id=event_id)
    assert record is not None
    return record


async def test_claims_made_together_each_get_their_own_runs_and_a_run_that_two_name_goes_to_the_first(
    engine: AsyncEngine,
) -> None:
    stored = await store(engine, an_event(), an_event(), an_event())
    first, second, third = (item.runs[0].run_id for item in stored)
    lease_id = await lease(engine)
    asked = [
        claims.Claim(
            tenant=TENANT,
            run_ids=run_ids,
            span_ids=[f"{number:016x}"] * len(run_ids),
            lease_id=lease_id,
            task_id=f"task-{number}",
        )
        for number, run_ids in enumerate(((first, second), (second, third)), start=1)
    ]
    async with transaction(engine) as connection:
        claimed = await claims.claim_together(connection, asked)
        rows = await connection.execute(text("SELECT run_id, task_id, span_id FROM attempts"))
        attempts = {row.run_id: (row.task_id, row.span_id) for row in rows}
        with pytest.raises(ValueError, match="one lease"):
            await claims.claim_together(connection, [asked[0], replace(asked[1], lease_id=new_id())])
    assert [{run.run_id for run in runs} for runs in claimed] == [{first, second}, {third}]
    assert attempts == {
        first: ("task-1", f"{1:016x}"),
        second: ("task-1", f"{1:016x}"),
        third: ("task-2", f"{2:016x}"),
    }


async def test_an_event_and_its_runs_come_back_as_they_went_in(engine: AsyncEngine) -> None:
    new = an_event(data='{"big": 12345678901234567890123, "text": "\\u00e9\\n"}', runs=2)
    (stored,) = await store(engine, new)
    assert stored.created
    record = await read(engine, new.event_id)
    assert record.event.data == {"big": 12345678901234567890123, "text": "é\n"}
    assert record.event.received_at == stored.received_at
    assert record.event.received_at.tzinfo is not None
    assert record.status is EventStatus.QUEUED
    assert [(run.run_id, run.pipeline, run.status, run.reason) for run in record.runs] == [
        (run.run_id, run.pipeline, RunStatus.QUEUED, QueueReason.ACCEPTED) for run in new.runs
    ]


@pytest.mark.parametrize(
    "same", [set(), {"source", "type"}, {"subject", "time", "runs"}, {"tenant", "subject", "data"}, set(_COLUMNS)]
)
async def test_events_of_one_call_come_back_as_they_went_in_whatever_they_share(
    engine: AsyncEngine, same: set[str]
) -> None:
    """Columns that are one value throughout are sent once."""

    def changed(number: int) -> NewEvent:
        event, at = an_event(), datetime(2026, 1, 1 + number, tzinfo=UTC)
        given: dict[str, Any] = {
            "tenant": f"tenant-{number}",
            "source": f"s{number}",
            "type": f"t{number}",
            "subject": (None, "x", "y")[number],
            "time": (at, None, at)[number],
            "data": f'{{"n": {number}}}',
            "runs": tuple(
                NewRun(run_id=new_id(), pipeline=f"p{place}", pipeline_version=number + 1, queue=f"q{place % 2}")
                for place in range(number)
            ),
        }
        return event._replace(**{name: value for name, value in given.items() if name not in same})

    sent = [changed(number) for number in range(3)]
    found = await store(engine, *sent)
    assert [(one.created, one.event_id) for one in found] == [(True, event.event_id) for event in sent]
    for event in sent:
        async with transaction(engine) as connection:
            there = await queries.get_event(connection, tenant=event.tenant, event_id=event.event_id)
        assert there
        row = there.event
        assert (row.source, row.type, row.subject, row.time) == (event.source, event.type, event.subject, event.time)
        assert row.data == json.loads(event.data)
        assert {(run.run_id, run.pipeline, run.pipeline_version, run.queue) for run in there.runs} == {
            run[:4] for run in event.runs
        }


async def test_of_two_events_with_one_key_the_first_stands_also_within_one_call(engine: AsyncEngine) -> None:
    first, second, third = (an_event(ce_id="same", data=f'{{"n": {number}}}') for number in range(3))
    answers = await store(engine, first, second)
    answers += await store(engine, third)
    assert [answer.created for answer in answers] == [True, False, False]
    assert {answer.event_id for answer in answers} == {first.event_id}
    assert {answer.content_hash for answer in answers} == {first.content_hash}
    assert all([run.run_id for run in answer.runs] == [first.runs[0].run_id] for answer in answers)


async def test_flushes_with_overlapping_keys_never_deadlock(engine: AsyncEngine) -> None:
    keys = [str(number) for number in range(60)]

    async def flush(seed: int) -> int:
        shuffled = random.Random(seed).sample(keys, 40)
        return sum(answer.created for answer in await store(engine, *(an_event(ce_id=key) for key in shuffled)))

    created = await asyncio.gather(*(flush(seed) for seed in range(24)))
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT count(*) FROM events"))).scalar_one()
    assert sum(created) == rows <= len(keys)


async def test_a_row_that_postgresql_refuses_leaves_nothing_of_its_call(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError) as caught:
        await store(engine, an_event(), an_event(data='{"text": "\\u0000"}'))
    assert refused_state(caught.value) == "22P05"
    assert not is_unavailable(caught.value)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM events"))).scalar_one() == 0


async def test_a_claim_takes_each_run_once(engine: AsyncEngine) -> None:
    new = [an_event() for _ in range(20)]
    await store(engine, *new)
    holders = [await lease(engine) for _ in range(4)]
    run_ids = [event.runs[0].run_id for event in new]
    claimed = await asyncio.gather(
        *(claim(engine, holder, *random.Random(number).sample(run_ids, 20)) for number, holder in enumerate(holders))
    )
    assert sorted(run.run_id for runs in claimed for run in runs) == sorted(run_ids)
    assert {run.attempt for runs in claimed for run in runs} == {1}


async def test_a_claim_opens_an_attempt_with_its_task_and_span(engine: AsyncEngine) -> None:
    new = an_event()
    await store(engine, new)
    await claim(engine, await lease(engine), new.runs[0].run_id)
    (run,) = (await read(engine, new.event_id)).runs
    assert run.status is RunStatus.RUNNING
    (attempt,) = run.attempts
    assert (attempt.attempt, attempt.worker, attempt.task_id, attempt.span_id, attempt.outcome) == (
        1,
        "test:1",
        "task",
        "00f067aa0ba902b7",
        None,
    )


@pytest.mark.parametrize("ended", ["by its time", "by hand"])
async def test_nothing_is_claimed_under_an_ended_lease(engine: AsyncEngine, ended: str) -> None:
    new = an_event()
    await store(engine, new)
    holder = await lease(engine, seconds=-1.0 if ended == "by its time" else 60.0)
    if ended == "by hand":
        async with transaction(engine) as connection:
            await leases.end_lease(connection, holder)
    assert await claim(engine, holder, new.runs[0].run_id) == []


async def test_a_run_that_is_due_later_is_not_claimed_now(engine: AsyncEngine) -> None:
    new = an_event()
    await store(engine, new)
    async with transaction(engine) as connection:
        await claims.defer_runs(
            connection, tenant=TENANT, run_ids=[new.runs[0].run_id], delay=60.0, reason=QueueReason.UNKNOWN_PIPELINE
        )
    assert await claim(engine, await lease(engine), new.runs[0].run_id) == []
    (run,) = (await read(engine, new.event_id)).runs
    assert run.reason is QueueReason.UNKNOWN_PIPELINE


async def test_a_finish_of_another_attempt_changes_nothing(engine: AsyncEngine) -> None:
    new = an_event()
    await store(engine, new)
    (old,) = await claim(engine, await lease(engine), new.runs[0].run_id)
    await finished(engine, finish(old, RunStatus.QUEUED, outcome=AttemptOutcome.RETRIED, reason=QueueReason.RETRY))
    (current,) = await claim(engine, await lease(engine), new.runs[0].run_id)
    assert current.attempt == 2
    stale = finish(old, nodes=(node_write(old, "n", NodeStatus.SUCCEEDED, '"stale"'),))
    assert await finished(engine, stale) == set()
    async with transaction(engine) as connection:
        assert await outcomes.write_nodes(connection, [node_write(old, "n", NodeStatus.SUCCEEDED, '"stale"')]) == set()
    (run,) = (await read(engine, new.event_id)).runs
    assert (run.status, run.attempt, run.nodes) == (RunStatus.RUNNING, 2, ())
    assert await finished(engine, finish(current)) == {(current.run_id, 2)}
    assert await finished(engine, finish(current)) == set()


async def test_a_done_node_stays_as_it_is_and_a_failed_one_is_written_over(engine: AsyncEngine) -> None:
    new = an_event()
    await store(engine, new)
    (run,) = await claim(engine, await lease(engine), new.runs[0].run_id)
    for output, status in (('"first"', NodeStatus.FAILED), ('"second"', NodeStatus.SUCCEEDED)):
        async with transaction(engine) as connection:
            await outcomes.write_nodes(
                connection,
                [
                    node_write(run, "done", NodeStatus.SUCCEEDED, output),
                    node_write(run, "failing", status, output if status is NodeStatus.SUCCEEDED else None),
                ],
            )
    async with transaction(engine) as connection:
        done = await claims.done_nodes(connection, tenant=TENANT, run_ids=[run.run_id])
    assert {result.node: result.output for result in done[run.run_id]} == {"done": "first", "failing": "second"}
    results = {result.node: result.output for result in (await read(engine, new.event_id)).runs[0].nodes}
    assert results == {"done": "first", "failing": "second"}


async def test_outcomes_of_many_runs_are_written_together(engine: AsyncEngine) -> None:
    new = [an_event() for _ in range(4)]
    await store(engine, *new)
    holder = await lease(engine)
    by_id = {run.run_id: run for run in await claim(engine, holder, *(event.runs[0].run_id for event in new))}
    good, retried, failed, cancelled = (by_id[event.runs[0].run_id] for event in new)
    await finished(
        engine,
        finish(good, nodes=(node_write(good, "n", NodeStatus.SUCCEEDED, "null"),)),
        finish(
            retried,
            RunStatus.QUEUED,
            outcome=AttemptOutcome.RETRIED,
            reason=QueueReason.RETRY,
            delay=30.0,
            spent=1,
            error='{"type": "E"}',
        ),
        finish(failed, RunStatus.FAILED, kind=FailureKind.TIMEOUT, error='{"type": "F"}', spent=1),
        finish(cancelled, RunStatus.CANCELLED),
    )
    records = {event.event_id: (await read(engine, event.event_id)).runs[0] for event in new}
    assert [records[event.event_id].status for event in new] == [
        RunStatus.SUCCEEDED,
        RunStatus.QUEUED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
    ]
    waiting, dead = records[new[1].event_id], records[new[2].event_id]
    assert waiting.errors == 1
    assert waiting.finished_at is None
    assert 25 < (waiting.available_at - datetime.now(UTC)).total_seconds() <= 30
    assert (dead.failure_kind, dead.error, dead.attempts[0].outcome) == (
        FailureKind.TIMEOUT,
        {"type": "F"},
        AttemptOutcome.FAILED,
    )
    assert dead.finished_at is not None


async def test_the_status_filter_says_what_event_status_says(engine: AsyncEngine) -> None:
    generator = random.Random(7)
    new = [an_event(runs=generator.randrange(4))._replace(awaited=number % 2 == 0) for number in range(40)]
    await store(engine, *new)
    holder = await lease(engine)
    for event in new:
        for run in event.runs:
            status = generator.choice(list(RunStatus))
            if status is RunStatus.QUEUED:
                continue
            (claimed,) = await claim(engine, holder, run.run_id)
            if status is not RunStatus.RUNNING:
                kind = FailureKind.ERROR if status is RunStatus.FAILED else None
                await finished(engine, finish(claimed, status, kind=kind))
    async with engine.connect() as connection:
        listed = {
            status: await queries.list_events(
                connection, tenant=TENANT, matching=queries.EventFilter(status=status), cursor=None, limit=100
            )
            for status in EventStatus
        }
    assert all(listed.values())
    for status, events in listed.items():
        assert {event.status for event in events} == {status}
        awaited = status is EventStatus.AWAITED
        assert all(event_status((run.status for run in event.runs), awaited=awaited) is status for event in events)
    assert sum(len(events) for events in listed.values()) == len(new)


async def test_pages_follow_one_another_newest_first(engine: AsyncEngine) -> None:
    new = [an_event(kind="a" if number % 2 else "b") for number in range(9)]
    await store(engine, *new)
    seen: list[UUID] = []
    cursor = None
    while True:
        async with engine.connect() as connection:
            page = await queries.list_events(
                connection, tenant=TENANT, matching=queries.EventFilter(type="a"), cursor=cursor, limit=3
            )
        if not page:
            break
        seen += [event.event_id for event in page]
        cursor = page[-1].event_id
    assert seen == sorted((event.event_id for event in new if event.type == "a"), reverse=True)


async def test_a_tenant_does_not_see_anothers_events(engine: AsyncEngine) -> None:
    new = an_event()
    await store(engine, new)
    async with engine.connect() as connection:
        assert await queries.get_event(connection, tenant="other", event_id=new.event_id) is None
        matching = queries.EventFilter()
        assert await queries.list_events(connection, tenant="other", matching=matching, cursor=None, limit=10) == []
