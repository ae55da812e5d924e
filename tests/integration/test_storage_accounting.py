import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import AttemptOutcome, FailureKind, QueueReason, RunStatus, new_id
from settings import DatabaseSettings
from storage import accounting, claims, ingest, leases, outcomes, retention
from storage.accounting import Balance
from storage.audit import audit
from storage.engine import create_engine, transaction
from storage.records import ClaimedRun, NewEvent, NewRun
from tests.support.driver import Fetching

TENANT = "default"
_RETRIED = (RunStatus.QUEUED, AttemptOutcome.RETRIED, None)
_ENDS = (
    (RunStatus.SUCCEEDED, AttemptOutcome.SUCCEEDED, None),
    (RunStatus.FAILED, AttemptOutcome.FAILED, FailureKind.ERROR),
    (RunStatus.CANCELLED, AttemptOutcome.CANCELLED, None),
)


@pytest.fixture
def settings(database_url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": database_url})


@pytest.fixture
async def engine(settings: DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings, application="test")
    yield engine
    await engine.dispose()


def an_event(ce_id: str, *, runs: int, tenant: str = TENANT) -> NewEvent:
    return NewEvent(
        tenant=tenant,
        event_id=new_id(),
        source="test",
        ce_id=ce_id,
        type="t",
        subject=None,
        time=None,
        data="{}",
        content_hash=b"x" * 32,
        traceparent=None,
        runs=tuple(
            NewRun(run_id=new_id(), pipeline=f"p{number}", pipeline_version=1, queue="default")
            for number in range(runs)
        ),
    )


async def read(engine: AsyncEngine) -> Balance:
    async with transaction(engine) as connection:
        return await accounting.balance(connection)


async def deltas(connection: AsyncConnection) -> int:
    return int((await connection.execute(text("SELECT count(*) FROM run_deltas"))).scalar_one())


async def store(engine: AsyncEngine, *new: NewEvent) -> None:
    async with transaction(engine) as connection:
        await ingest.store_events(Fetching(connection), new)


class Life:
    """Does at random what processes do to runs, each step in a transaction of its own."""

    def __init__(self, engine: AsyncEngine, seed: int) -> None:
        self._engine = engine
        self._random = random.Random(seed)
        self._held: list[ClaimedRun] = []
        self._lease: UUID | None = None

    async def go(self, steps: int) -> None:
        for _ in range(steps):
            step = self._random.choice(
                [self.accept, self.claim, self.claim, self.finish, self.finish, self.die, self.fold, self.remove]
            )
            await step()

    async def accept(self) -> None:
        keys = [str(self._random.randrange(300)) for _ in range(self._random.randint(1, 6))]
        await store(self._engine, *(an_event(key, runs=self._random.randrange(3)) for key in keys))

    async def claim(self) -> None:
        async with transaction(self._engine) as connection:
            if self._lease is None:
                self._lease = new_id()
                await leases.open_lease(connection, lease_id=self._lease, worker="test:1", seconds=60.0)
            rows = await connection.execute(text("SELECT run_id FROM runs WHERE status = 'queued' LIMIT 20"))
            ids = [row.run_id for row in rows]
        asked = claims.Claim(tenant=TENANT, run_ids=ids, span_ids=[None] * len(ids), lease_id=self._lease, task_id=None)
        async with transaction(self._engine) as connection:
            self._held += await claims.claim_runs(connection, asked)

    async def finish(self) -> None:
        """Some are finished twice, and some that were lost long ago: neither counts."""
        finishes = [
            outcomes.Finish(
                tenant=TENANT,
                run_id=run.run_id,
                attempt=run.attempt,
                status=status,
                outcome=outcome,
                kind=kind,
                reason=QueueReason.RETRY if status is RunStatus.QUEUED else None,
            )
            for run in self._random.sample(self._held, min(5, len(self._held)))
            for status, outcome, kind in [self._random.choice([_RETRIED, *_ENDS])]
        ]
        if self._held and self._random.random() < 0.5:
            self._held.pop()
        async with transaction(self._engine) as connection:
            await outcomes.finish_runs(connection, finishes)

    async def die(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            async with transaction(self._engine) as connection:
                await leases.end_lease(connection, lease)
            async with transaction(self._engine) as connection:
                await leases.free_runs(connection, [lease], died=self._random.random() < 0.5)

    async def remove(self) -> None:
        async with transaction(self._engine) as connection:
            await retention.remove_ended(connection, age=0.0, most=self._random.randint(1, 20))

    async def fold(self) -> None:
        async with transaction(self._engine) as connection:
            await accounting.fold_deltas(connection, most=self._random.randint(1, 50))


@pytest.mark.parametrize("seed", range(3))
async def test_no_interleaving_of_what_processes_do_makes_a_difference(
    engine: AsyncEngine, settings: DatabaseSettings, seed: int
) -> None:
    """At no moment of it; and the audit finds nothing in what is left."""
    going = asyncio.gather(*(Life(engine, seed * 100 + number).go(60) for number in range(6)))
    while not going.done():
        assert (await read(engine)).difference == 0
    await going
    async with transaction(engine) as connection:
        counted = await connection.execute(text("SELECT count(*) AS runs, count(finished_at) AS final FROM runs"))
        runs, final = counted.one()
    balance = await read(engine)
    assert (balance.accepted - balance.removed, balance.final - balance.removed) == (runs, final)
    assert balance.open == runs - final
    assert 0 < balance.removed < balance.final < balance.accepted
    found = await audit(settings, grace=60.0, most=20, check_timeout=20.0)
    assert [finding for finding in found if finding.count] == []


async def test_each_statement_leaves_one_row_and_none_where_it_changed_nothing(engine: AsyncEngine) -> None:
    await store(engine, *(an_event(str(number), runs=2) for number in range(10)))
    async with transaction(engine) as connection:
        assert await deltas(connection) == 1
    await store(engine, an_event("3", runs=2), an_event("unrouted", runs=0))
    async with transaction(engine) as connection:
        assert await deltas(connection) == 1
        await outcomes.finish_runs(connection, [])
        assert await deltas(connection) == 1


async def test_the_account_is_kept_by_tenant_and_read_for_all(engine: AsyncEngine) -> None:
    await store(engine, an_event("1", runs=2), an_event("1", runs=1, tenant="other"))
    for _ in range(2):
        async with transaction(engine) as connection:
            await accounting.fold_deltas(connection, most=100)
    async with transaction(engine) as connection:
        rows = await connection.execute(text("SELECT tenant, accepted FROM run_deltas ORDER BY tenant"))
        assert [tuple(row) for row in rows] == [("default", 2), ("other", 1)]
    assert (await read(engine)).accepted == 3


async def test_folding_side_by_side_loses_and_doubles_nothing(engine: AsyncEngine) -> None:
    stop = asyncio.Event()
    added = 0

    async def add() -> None:
        nonlocal added
        for _ in range(150):
            async with transaction(engine) as connection:
                await connection.execute(text("INSERT INTO run_deltas (accepted, final) VALUES (2, 2)"))
            added += 2

    async def fold(most: int) -> None:
        while not stop.is_set():
            async with transaction(engine) as connection:
                await accounting.fold_deltas(connection, most=most)

    folding = [asyncio.create_task(fold(most)) for most in (3, 1000, 1000)]
    await asyncio.gather(*(add() for _ in range(3)))
    stop.set()
    await asyncio.gather(*folding)
    balance = await read(engine)
    assert (balance.accepted, balance.final) == (added, added) == (900, 900)
    async with transaction(engine) as connection:
        await accounting.fold_deltas(connection, most=1000)
        assert await deltas(connection) == 1


@pytest.mark.parametrize(
    ("fault", "difference"),
    [
        ("DELETE FROM runs WHERE run_id = (SELECT run_id FROM runs WHERE status = 'queued' LIMIT 1)", 1),
        (
            """
            UPDATE runs SET status = 'queued', finished_at = NULL, failure_kind = NULL
            WHERE run_id = (SELECT run_id FROM runs WHERE finished_at IS NOT NULL LIMIT 1)
            """,
            -1,
        ),
    ],
    ids=["an open run vanished", "a final run is open again"],
)
async def test_what_nobody_counted_is_a_difference(engine: AsyncEngine, fault: str, difference: int) -> None:
    await store(engine, *(an_event(str(number), runs=1) for number in range(10)))
    life = Life(engine, 1)
    await life.claim()
    while (await read(engine)).final == 0:
        await life.finish()
    async with transaction(engine) as connection:
        await store(engine, an_event("more", runs=1))
        await connection.execute(text(fault))
    assert (await read(engine)).difference == difference


async def test_an_event_that_is_removed_while_it_comes_again_is_new(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding that the key is taken and reading what stands for it, retention takes the event away."""
    await store(engine, an_event("gone", runs=1), an_event("stays", runs=1))
    looked = ingest._existing

    async def removed_meanwhile(connection: AsyncConnection, wanted: list[NewEvent]) -> object:
        monkeypatch.setattr(ingest, "_existing", looked)
        async with transaction(engine) as other:
            await other.execute(text("DELETE FROM events WHERE ce_id = 'gone'"))
        return await looked(connection, wanted)

    monkeypatch.setattr(ingest, "_existing", removed_meanwhile)
    new = [an_event("gone", runs=1), an_event("stays", runs=1), an_event("gone", runs=1)]
    async with transaction(engine) as connection:
        answers = await ingest.store_events(Fetching(connection), new)
    assert [answer.created for answer in answers] == [True, False, False]
    assert answers[2].event_id == answers[0].event_id == new[0].event_id
