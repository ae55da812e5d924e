"""What deaths do to a run, as the tables tell: which count, where it goes, when it ends."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from events import AttemptOutcome, FailureKind, QueueReason, RunStatus, new_id
from storage import leases, outcomes
from storage.dead_attempts import dead_attempts
from storage.deaths import UNSEEN, Death, explain_deaths
from storage.engine import transaction
from storage.leases import Cell, FreedRun
from tests.support.relaying import TENANT, World


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


async def lease(world: World, *, cell: bool) -> UUID:
    lease_id = new_id()
    async with transaction(world.engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="worker:7", seconds=60, cell=cell)
    return lease_id


SEGFAULT = Death(how="was killed by SIGSEGV", own=True)
KILLED = Death(how="was killed by SIGKILL")


async def free(
    world: World, lease_id: UUID, *, died: bool = True, death: Death = SEGFAULT, cell: Cell | None = None
) -> list[FreedRun]:
    async with transaction(world.engine) as connection:
        await leases.end_lease(connection, lease_id)
    async with transaction(world.engine) as connection:
        return await leases.free_runs(connection, [lease_id], died=died, death=death, cell=cell)


async def lose(world: World, run_ids: Sequence[UUID], *, cell: bool = False, death: Death = SEGFAULT) -> list[FreedRun]:
    """Claim runs under a lease of its own and lose them with their process."""
    holder = await lease(world, cell=cell)
    assert len(await world.claim(holder, run_ids)) == len(run_ids)
    return await free(world, holder, death=death)


async def isolate(world: World) -> UUID:
    """Store a run and lose it until it is in the cell."""
    (run_id,) = await world.store()
    await lose(world, [run_id])
    await lose(world, [run_id])
    return run_id


async def row(world: World, run_id: UUID) -> Any:
    async with world.engine.connect() as connection:
        found = await connection.execute(text("SELECT * FROM runs WHERE run_id = :run_id"), {"run_id": run_id})
        return found.one()


async def final_count(world: World) -> int:
    return int(await world.value("SELECT coalesce(sum(final), 0) FROM run_deltas"))


async def test_after_its_first_death_a_run_goes_anywhere(world: World) -> None:
    (run_id,) = await world.store()
    (freed,) = await lose(world, [run_id])
    run = await row(world, run_id)
    assert (run.status, run.reason, run.queue, run.home_queue) == ("queued", QueueReason.RESCUED, "default", None)
    assert (run.deaths, run.cell_deaths, freed.deaths, freed.isolated, freed.poisoned) == (1, 0, 1, False, False)


async def test_after_its_second_death_a_run_goes_to_the_cell_due_at_once(world: World) -> None:
    (run_id,) = await world.store()
    await lose(world, [run_id])
    (freed,) = await lose(world, [run_id])
    run = await row(world, run_id)
    assert (run.status, run.reason, run.queue, run.home_queue) == ("queued", QueueReason.ISOLATED, "cell", "default")
    assert (run.deaths, run.cell_deaths, freed.isolated) == (2, 0, True)
    async with world.engine.connect() as connection:
        (lost,) = await dead_attempts(connection, [(TENANT, run_id, freed.attempt)])
    assert lost.queue == "default"
    assert await world.value("SELECT available_at <= now() AND publish_at <= now() FROM runs")


async def test_a_run_that_was_sent_to_the_cell_is_claimed_by_no_other(world: World) -> None:
    """A message from before may still come to a worker that it would kill."""
    (run_id,) = await world.store()
    await lose(world, [run_id])
    await lose(world, [run_id])
    assert await world.claim(await lease(world, cell=False), [run_id]) == []
    assert len(await world.claim(await lease(world, cell=True), [run_id])) == 1


async def test_only_deaths_in_the_cell_poison(world: World) -> None:
    (run_id,) = await world.store()
    await lose(world, [run_id])
    await lose(world, [run_id])
    (freed,) = await lose(world, [run_id], cell=True)
    run = await row(world, run_id)
    assert (run.status, run.reason, run.queue, run.home_queue) == ("queued", QueueReason.RESCUED, "cell", "default")
    assert (run.deaths, run.cell_deaths, freed.poisoned) == (3, 1, False)
    assert await final_count(world) == 0

    (freed,) = await lose(world, [run_id], cell=True)
    run = await row(world, run_id)
    assert freed.poisoned
    assert (run.status, run.failure_kind, run.reason) == (RunStatus.FAILED, FailureKind.POISONED, None)
    assert (run.deaths, run.cell_deaths, run.lease_id) == (4, 2, None)
    assert run.finished_at is not None
    assert run.error["type"] == "Poisoned"
    assert run.error["message"] == (
        "its worker process died under it 4 times, 2 of them while it ran alone in the cell; "
        "the last, worker:7, was killed by SIGSEGV"
    )
    assert await final_count(world) == 1
    ended = "SELECT count(*) FROM attempts WHERE outcome = :lost AND finished_at IS NOT NULL"
    assert await world.value(ended, lost=AttemptOutcome.LOST.value) == 4


@pytest.mark.parametrize("death", [KILLED, UNSEEN])
async def test_deaths_from_outside_in_the_cell_do_not_poison(world: World, death: Death) -> None:
    run_id = await isolate(world)
    for _ in range(9):
        (freed,) = await lose(world, [run_id], cell=True, death=death)
        assert not freed.poisoned
    run = await row(world, run_id)
    assert (run.status, run.queue, run.deaths, run.cell_deaths) == ("queued", "cell", 11, 0)


async def test_a_run_that_nobody_can_explain_does_not_kill_for_ever(world: World) -> None:
    run_id = await isolate(world)
    for _ in range(9):
        await lose(world, [run_id], cell=True, death=KILLED)
    (freed,) = await lose(world, [run_id], cell=True, death=UNSEEN)
    run = await row(world, run_id)
    assert freed.poisoned
    assert (run.failure_kind, run.deaths, run.cell_deaths) == (FailureKind.POISONED, 12, 0)
    assert run.error["message"].endswith(f"the last, worker:7, {UNSEEN.how}")


async def test_attempts_tell_how_their_process_died(world: World) -> None:
    (run_id,) = await world.store()
    for death in (SEGFAULT, UNSEEN):
        await lose(world, [run_id], death=death)
    async with world.engine.connect() as connection:
        told = (await connection.execute(text("SELECT error FROM attempts ORDER BY attempt"))).scalars().all()
    assert told == [
        {"type": "ProcessDied", "message": "its process was killed by SIGSEGV"},
        {"type": "Unexplained", "message": f"its process {UNSEEN.how}"},
    ]


@pytest.mark.parametrize("claimed_again", [False, True])
@pytest.mark.parametrize("death", [SEGFAULT, KILLED])
async def test_a_death_that_a_relay_has_missed_is_told_once(world: World, death: Death, claimed_again: bool) -> None:
    """A cell whose loop was blocked beyond its lease ends after the relay has taken its run."""
    run_id = await isolate(world)
    await lose(world, [run_id], cell=True, death=UNSEEN)
    if claimed_again:
        await world.claim(await lease(world, cell=True), [run_id])
    told = []
    for deaths in ({"worker:8": SEGFAULT}, {"worker:7": death}, {"worker:7": SEGFAULT}):
        async with transaction(world.engine) as connection:
            told.append(await explain_deaths(connection, deaths))
    assert told == [0, 1, 0]
    assert (await row(world, run_id)).cell_deaths == int(death.own)
    how = "SELECT error->>'message' FROM attempts WHERE attempt = 3"
    assert await world.value(how) == f"its process {death.how}"


async def test_the_number_of_deaths_and_the_queue_are_the_operators(world: World) -> None:
    (run_id,) = await world.store()
    await lose(world, [run_id])
    holder = await lease(world, cell=False)
    await world.claim(holder, [run_id])
    await free(world, holder, cell=Cell(queue="ward", deaths=1))
    assert (await row(world, run_id)).queue == "ward"
    alone = await lease(world, cell=True)
    await world.claim(alone, [run_id])
    (freed,) = await free(world, alone, cell=Cell(queue="ward", deaths=1))
    assert freed.poisoned


async def test_what_is_handed_back_counts_no_death_and_stays_where_it_is(world: World) -> None:
    (run_id,) = await world.store()
    await lose(world, [run_id])
    await lose(world, [run_id])
    for _ in range(3):
        alone = await lease(world, cell=True)
        await world.claim(alone, [run_id])
        await free(world, alone, died=False)
    run = await row(world, run_id)
    assert (run.reason, run.deaths, run.cell_deaths, run.queue) == (QueueReason.HANDED_BACK, 2, 0, "cell")


async def test_neighbours_of_a_killer_follow_it_to_the_cell_and_go_no_further(world: World) -> None:
    run_ids = await world.store(5)
    await lose(world, run_ids)
    assert [run.isolated for run in await lose(world, run_ids)] == [True] * 5
    for run_id in run_ids[1:]:
        alone = await lease(world, cell=True)
        (claimed,) = await world.claim(alone, [run_id])
        done = outcomes.Finish(
            tenant=TENANT,
            run_id=run_id,
            attempt=claimed.attempt,
            status=RunStatus.SUCCEEDED,
            outcome=AttemptOutcome.SUCCEEDED,
        )
        async with transaction(world.engine) as connection:
            assert len(await outcomes.finish_runs(connection, [done])) == 1


async def test_a_run_that_its_process_survived_in_the_cell_goes_home(world: World) -> None:
    """Its next death brings it back at once; deaths in the cell stay counted."""
    (run_id,) = await world.store()
    await lose(world, [run_id])
    await lose(world, [run_id])
    await lose(world, [run_id], cell=True)
    (claimed,) = await world.claim(await lease(world, cell=True), [run_id])
    retry = outcomes.Finish(
        tenant=TENANT,
        run_id=run_id,
        attempt=claimed.attempt,
        status=RunStatus.QUEUED,
        outcome=AttemptOutcome.RETRIED,
        reason=QueueReason.RETRY,
        spent=1,
    )
    async with transaction(world.engine) as connection:
        await outcomes.finish_runs(connection, [retry])
    run = await row(world, run_id)
    assert (run.queue, run.home_queue, run.cell_deaths) == ("default", None, 1)

    (freed,) = await lose(world, [run_id])
    assert (freed.isolated, (await row(world, run_id)).queue) == (True, "cell")
    (freed,) = await lose(world, [run_id], cell=True)
    assert freed.poisoned


async def test_two_rescuers_count_a_death_once(world: World) -> None:
    (run_id,) = await world.store()
    holder = await lease(world, cell=False)
    await world.claim(holder, [run_id])
    assert len(await free(world, holder)) == 1
    assert await free(world, holder) == []
    assert (await row(world, run_id)).deaths == 1
