import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import FailureKind, RunStatus
from settings import DatabaseSettings
from storage import accounting, purging
from storage.audit import audit
from storage.dead import DeadFilter
from storage.engine import create_engine, transaction
from storage.purging import Purgeable, Purged
from tests.support.histories import TENANT, an_event

EVERY = DeadFilter()


@pytest.fixture
def settings(database_url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": database_url})


@pytest.fixture
async def engine(settings: DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings, application="test")
    yield engine
    await engine.dispose()


async def purge(engine: AsyncEngine, matching: DeadFilter = EVERY, *, most: int = 100) -> Purged:
    """Walk once over everything; return the sum."""
    place: UUID | None = purging.START
    dead: list[UUID] = []
    kept = runs = events = 0
    while place is not None:
        async with transaction(engine) as connection:
            batch = await purging.purge_dead(connection, tenant=TENANT, matching=matching, most=most, place=place)
        assert batch.events <= most
        dead += batch.dead
        kept, runs, events, place = kept + batch.kept, runs + batch.runs, events + batch.events, batch.place
    return Purged(dead=dead, kept=kept, runs=runs, events=events, place=None)


async def count(engine: AsyncEngine, matching: DeadFilter = EVERY) -> Purgeable:
    async with engine.connect() as connection:
        return await purging.count_purgeable(connection, tenant=TENANT, matching=matching)


async def kept(engine: AsyncEngine) -> set[UUID]:
    async with engine.connect() as connection:
        return set((await connection.execute(text("SELECT event_id FROM events"))).scalars())


@pytest.mark.parametrize("most", [1, 2, 100])
async def test_a_dead_run_goes_with_its_event_unless_another_run_is_open(engine: AsyncEngine, most: int) -> None:
    """Whatever the size of the batches: what stays is never in the way of what goes."""
    wanted = {
        await an_event(engine, RunStatus.FAILED, RunStatus.QUEUED),
        await an_event(engine, RunStatus.RUNNING, RunStatus.FAILED),
        await an_event(engine, RunStatus.SUCCEEDED),
        await an_event(engine),
    }
    await an_event(engine, RunStatus.FAILED)
    await an_event(engine, RunStatus.FAILED, RunStatus.SUCCEEDED, RunStatus.CANCELLED, days=0.0)
    await an_event(engine, RunStatus.FAILED, RunStatus.FAILED)
    assert await count(engine) == Purgeable(matching=6, kept=2)
    purged = await purge(engine, most=most)
    assert (purged.events, purged.runs) == (3, 6)
    assert (len(purged.dead), purged.kept) == (4, 2)
    assert await kept(engine) == wanted
    for table in ("attempts", "node_results"):
        async with engine.connect() as connection:
            orphans = f"SELECT count(*) FROM {table} WHERE run_id NOT IN (SELECT run_id FROM runs)"
            assert (await connection.execute(text(orphans))).scalar_one() == 0


async def test_a_replayed_run_is_not_dead_and_its_dead_replay_goes_with_it(engine: AsyncEngine) -> None:
    mended = await an_event(engine, RunStatus.FAILED, RunStatus.SUCCEEDED)
    await an_event(engine, RunStatus.FAILED, RunStatus.FAILED)
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                """
                UPDATE runs r SET replay_of = o.run_id FROM runs o
                WHERE o.event_id = r.event_id AND o.pipeline = 'p0' AND r.pipeline = 'p1'
                """
            )
        )
    assert await count(engine) == Purgeable(matching=1, kept=0)
    purged = await purge(engine)
    assert (len(purged.dead), purged.runs) == (1, 2)
    assert await kept(engine) == {mended}


@pytest.mark.parametrize(
    "matching",
    [
        DeadFilter(pipelines=("p1",)),
        DeadFilter(type="u"),
        DeadFilter(failure_kind=FailureKind.TIMEOUT),
        DeadFilter(after=datetime.now(UTC) - timedelta(days=30)),
        DeadFilter(before=datetime.now(UTC) - timedelta(days=50)),
    ],
)
async def test_what_a_filter_does_not_mean_stays(engine: AsyncEngine, matching: DeadFilter) -> None:
    event_id = await an_event(engine, RunStatus.FAILED)
    assert await count(engine, matching) == Purgeable(matching=0, kept=0)
    assert (await purge(engine, matching)).events == 0
    assert await kept(engine) == {event_id}


async def test_a_dead_run_that_is_not_meant_keeps_its_event(engine: AsyncEngine) -> None:
    event_id = await an_event(engine, RunStatus.FAILED, RunStatus.FAILED)
    matching = DeadFilter(pipelines=("p0",), failure_kind=FailureKind.ERROR, type="t")
    assert await count(engine, matching) == Purgeable(matching=1, kept=1)
    assert (await purge(engine, matching)).kept == 1
    assert await kept(engine) == {event_id}


async def test_purges_side_by_side_remove_each_event_once_and_the_account_stays_even(
    engine: AsyncEngine, settings: DatabaseSettings
) -> None:
    for _ in range(20):
        await an_event(engine, RunStatus.FAILED, RunStatus.SUCCEEDED, days=0.0)
    await an_event(engine, RunStatus.FAILED, RunStatus.QUEUED, days=0.0)
    answers = await asyncio.gather(*(purge(engine, most=3) for _ in range(4)))
    answers.append(await purge(engine))
    assert (sum(answer.events for answer in answers), sum(answer.runs for answer in answers)) == (20, 40)
    async with engine.connect() as connection:
        balance = await accounting.balance(connection)
    assert (balance.accepted, balance.final, balance.open, balance.removed) == (42, 41, 1, 40)
    assert balance.difference == 0
    found = await audit(settings, grace=0, most=10, check_timeout=60)
    assert [finding.check for finding in found if finding.count] == []
