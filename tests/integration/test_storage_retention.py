import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import RunStatus, new_id
from observability.metrics import Metrics
from settings import DatabaseSettings, RetentionSettings
from storage import accounting, leases, retention
from storage.engine import create_engine, transaction
from tests.support.histories import an_event
from worker.relay.accounting import Accounting
from worker.relay.database import Database
from worker.relay.retention import Retention

DAY = 86_400.0


@pytest.fixture
def settings(database_url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": database_url})


@pytest.fixture
async def engine(settings: DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings, application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(settings: DatabaseSettings) -> AsyncIterator[Database]:
    database = Database(settings)
    yield database
    await database.close()


async def remove(engine: AsyncEngine, *, days: float = 30.0, most: int = 100) -> tuple[int, int]:
    """Walk once over everything; return how many events and runs went."""
    place: retention.Place | None = retention.START
    events = runs = 0
    while place is not None:
        async with transaction(engine) as connection:
            removed = await retention.remove_ended(connection, age=days * DAY, most=most, place=place)
        events, runs, place = events + removed.events, runs + removed.runs, removed.place
    return events, runs


async def left(engine: AsyncEngine, table: str) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def kept(engine: AsyncEngine) -> set[UUID]:
    async with engine.connect() as connection:
        return set((await connection.execute(text("SELECT event_id FROM events"))).scalars())


async def test_an_event_goes_with_all_that_belongs_to_it(engine: AsyncEngine) -> None:
    await an_event(engine, RunStatus.SUCCEEDED, RunStatus.CANCELLED)
    assert await remove(engine) == (1, 2)
    assert [await left(engine, table) for table in ("events", "runs", "attempts", "node_results")] == [0, 0, 0, 0]


@pytest.mark.parametrize("most", [1, 2, 3, 100])
async def test_what_failed_is_open_unrouted_or_young_stays_with_its_event(engine: AsyncEngine, most: int) -> None:
    """Whatever the size of the batches: what stays is never in the way of what goes."""
    wanted = {
        await an_event(engine),
        await an_event(engine, RunStatus.FAILED),
        await an_event(engine, RunStatus.SUCCEEDED, RunStatus.FAILED),
        await an_event(engine, RunStatus.SUCCEEDED, RunStatus.QUEUED),
        await an_event(engine, RunStatus.CANCELLED, RunStatus.RUNNING),
        await an_event(engine, RunStatus.SUCCEEDED, days=29.0),
    }
    for _ in range(4):
        await an_event(engine, RunStatus.SUCCEEDED, RunStatus.SUCCEEDED, days=39.0)
    assert await remove(engine, most=most) == (4, 8)
    assert await kept(engine) == wanted


async def test_a_failed_run_that_was_replayed_is_no_longer_in_the_way(engine: AsyncEngine) -> None:
    """Unless its replay failed too: then that one is dead."""
    mended = await an_event(engine, RunStatus.FAILED, RunStatus.SUCCEEDED)
    again = await an_event(engine, RunStatus.FAILED, RunStatus.FAILED, RunStatus.SUCCEEDED)
    replays = text(
        """
        UPDATE runs r SET replay_of = o.run_id FROM runs o
        WHERE o.event_id = r.event_id AND o.pipeline = 'p0' AND r.pipeline = 'p1'
        """
    )
    async with transaction(engine) as connection:
        await connection.execute(replays)
    await remove(engine)
    left_over = await kept(engine)
    assert (mended in left_over, again in left_over) == (False, True)


async def test_the_account_stays_even_and_says_what_was_removed(engine: AsyncEngine) -> None:
    await an_event(engine, RunStatus.SUCCEEDED, RunStatus.CANCELLED)
    await an_event(engine, RunStatus.FAILED, RunStatus.QUEUED)
    await remove(engine)
    async with engine.connect() as connection:
        balance = await accounting.balance(connection)
    assert (balance.accepted, balance.final, balance.open, balance.removed) == (4, 3, 1, 2)
    assert balance.difference == 0


async def test_walks_side_by_side_remove_and_count_everything_once(engine: AsyncEngine) -> None:
    for _ in range(30):
        await an_event(engine, RunStatus.SUCCEEDED)
    walks = await asyncio.gather(*(remove(engine, most=7) for _ in range(4)))
    await remove(engine)
    assert sum(runs for _, runs in walks) <= 30
    assert await left(engine, "events") == 0
    async with engine.connect() as connection:
        assert (await accounting.balance(connection)).removed == 30


async def test_a_run_made_for_an_event_that_is_looked_at_keeps_the_event(engine: AsyncEngine) -> None:
    """A replay that was committed between the look at ended runs and the removal."""
    event_id = await an_event(engine, RunStatus.SUCCEEDED)
    new_run = text(
        "INSERT INTO runs (run_id, event_id, pipeline, pipeline_version, queue) "
        "VALUES (:run_id, :event_id, 'p', 1, 'q')"
    )
    async with engine.connect() as replaying:
        begun = await replaying.begin()
        await replaying.execute(new_run, {"run_id": new_id(), "event_id": event_id})
        assert await remove(engine) == (0, 0)
        await begun.commit()
    assert await remove(engine) == (0, 0)
    assert await kept(engine) == {event_id}


async def test_the_relay_removes_batch_by_batch_and_then_rests(engine: AsyncEngine, database: Database) -> None:
    for _ in range(5):
        await an_event(engine, RunStatus.SUCCEEDED)
    part = Retention(RetentionSettings(batch=2, interval=60.0), database=database)
    waits = [await part.run_once() for _ in range(3)]
    assert [await left(engine, "events"), waits[0] < 60.0, waits[1] < 60.0, waits[2]] == [0, True, True, 60.0]


async def test_with_no_days_set_everything_is_kept(engine: AsyncEngine, database: Database) -> None:
    await an_event(engine, RunStatus.SUCCEEDED, days=4000.0)
    await Retention(RetentionSettings(days=0), database=database).run_once()
    assert await left(engine, "events") == 1


async def test_leases_go_when_they_ended_long_ago_and_nothing_runs_under_them(
    engine: AsyncEngine, database: Database
) -> None:
    await an_event(engine, RunStatus.RUNNING)
    async with transaction(engine) as connection:
        for worker in ("young", "old", "live"):
            await leases.open_lease(connection, lease_id=new_id(), worker=worker, seconds=60.0)
        await connection.execute(text("UPDATE worker_leases SET ended_at = now() WHERE worker = 'young'"))
        await connection.execute(
            text("UPDATE worker_leases SET ended_at = now() - interval '31 days' WHERE worker IN ('old', 'w')")
        )
    await Retention(RetentionSettings(), database=database).run_once()
    async with engine.connect() as connection:
        workers = (await connection.execute(text("SELECT worker FROM worker_leases"))).scalars()
        assert sorted(workers) == ["live", "w", "young"]


async def test_the_relay_folds_the_account_and_shows_it(engine: AsyncEngine, database: Database) -> None:
    await an_event(engine, RunStatus.SUCCEEDED)
    await an_event(engine, RunStatus.QUEUED)
    await remove(engine)
    registry = CollectorRegistry()
    part = Accounting(database=database, metrics=Metrics(registry))
    await part.run_once()
    assert await left(engine, "run_deltas") == 1

    def shown() -> list[float | None]:
        states = ("accepted", "final", "open", "removed", "difference")
        return [registry.get_sample_value("throughline_accounting_runs", {"state": state}) for state in states]

    assert shown() == [2, 1, 1, 1, 0]
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM runs"))
    await part.run_once()
    assert shown() == [2, 1, 0, 1, 1]
