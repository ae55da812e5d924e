import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from events import (
    Cancelled,
    ErrorInfo,
    Failed,
    FailureKind,
    LimitKey,
    Outcome,
    QueueReason,
    Retry,
    Succeeded,
    Suspended,
)
from storage import cancels, claims, due, leases, permits, standing
from storage.engine import transaction
from storage.outcomes import finish_runs
from storage.policies import RunPolicy
from tests.support.admitting import Gate, limited
from tests.support.relaying import TENANT, World, until
from worker.outcomes import finish_of

ERROR = ErrorInfo(type="ValueError", message="no")


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


@pytest.fixture
async def gate(world: World) -> AsyncIterator[Gate]:
    gate = Gate(world)
    yield gate
    await gate.close()
    await gate.check()


async def test_a_key_has_so_many_runs_at_once_and_the_oldest_go_first(world: World, gate: Gate) -> None:
    many = await world.store(10, policy=limited(concurrency=3))
    few = await world.store(2, policy=limited(key="b", concurrency=3))
    assert await gate.once() == 5
    assert await gate.admitted() == sorted(many[:3] + few)
    assert await gate.once() == 0
    await gate.succeed(many[:1])
    assert await gate.once() == 1
    assert await gate.admitted() == sorted(many[1:4] + few)


async def test_a_rate_counts_every_start_in_its_time_also_of_runs_that_have_ended(world: World, gate: Gate) -> None:
    run_ids = await world.store(8, policy=limited(rate=5, per=60.0))
    assert await gate.once() == 5
    await gate.succeed(run_ids[:5])
    assert await gate.once() == 0
    await gate.pass_time(59.0)
    assert await gate.once() == 0
    await gate.pass_time(1.5)
    assert await gate.once() == 3


async def test_a_run_needs_room_in_all_of_its_limits(world: World, gate: Gate) -> None:
    both = RunPolicy(
        limits=(LimitKey(name="vendor", key="a", concurrency=5), LimitKey(name="all", key="", rate=2, per=60.0))
    )
    await world.store(4, policy=both)
    assert await gate.once() == 2
    assert (await gate.good(), await gate.good("all", "")) == (2, 2)


async def test_a_run_that_waits_is_not_published_and_a_message_from_before_starts_nothing(
    world: World, gate: Gate
) -> None:
    (run_id,) = await world.store(1, policy=limited(concurrency=1))
    async with transaction(world.engine) as connection:
        taken, _ = await due.take_due(connection, "default", most=10, lease=10)
        assert not taken.keys
        assert await due.seconds_to_next(connection, ["default"]) is None
    assert await gate.claim([run_id]) == []
    async with transaction(world.engine) as connection:
        await claims.release_runs(connection, tenant=TENANT, run_ids=[run_id])
        assert not (await due.take_due(connection, "default", most=10, lease=10))[0].keys


@pytest.mark.parametrize(
    "outcome",
    [
        Succeeded(),
        Retry(delay=0.0, error=ERROR),
        Failed(kind=FailureKind.ERROR, error=ERROR),
        Cancelled(reason="enough"),
        Suspended(node="n", reason=QueueReason.SLEEPING, delay=0.0),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
async def test_whatever_a_try_comes_to_its_permits_are_free(world: World, gate: Gate, outcome: Outcome) -> None:
    first, second = await world.store(2, policy=limited(concurrency=1))
    assert await gate.once() == 1
    claimed = await gate.claim([first])
    await world.finish(claimed, outcome)
    assert await gate.good() == 0
    assert await gate.once() == 1
    admitted = await gate.admitted()
    assert admitted in ([first], [second])
    await gate.succeed(admitted)


async def test_a_run_that_is_tried_again_waits_for_permits_like_the_others(world: World, gate: Gate) -> None:
    first, second = await world.store(2, policy=limited(concurrency=1))
    await gate.once()
    await world.finish(await gate.claim([first]), Retry(delay=0.0, error=ERROR))
    assert await gate.claim([first]) == []
    await gate.once()
    assert await gate.admitted() == [second]
    await gate.succeed([second])
    await gate.once()
    (claimed,) = await gate.claim([first])
    assert claimed.attempt == 2
    await world.finish([claimed], Succeeded())


async def test_a_run_that_this_code_does_not_know_gives_its_permits_back(world: World, gate: Gate) -> None:
    first, second = await world.store(2, policy=limited(concurrency=1))
    await gate.once()
    async with transaction(world.engine) as connection:
        await claims.defer_runs(connection, tenant=TENANT, run_ids=[first], delay=600.0, reason="unknown_pipeline")
    await gate.once()
    assert await gate.admitted() == [second]


async def test_a_cancelled_run_gives_its_permits_back_queued_or_running(world: World, gate: Gate) -> None:
    first, second, third = await world.store(3, policy=limited(concurrency=1))
    await gate.once()
    async with transaction(world.engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[first], reason="no")
    assert await gate.once() == 1
    claimed = await gate.claim([second])
    async with transaction(world.engine) as connection:
        await cancels.request_cancel(connection, tenant=TENANT, run_ids=[second], reason="no")
    assert await gate.once() == 0, "it is under way until its worker has ended it"
    await world.finish(claimed, Cancelled(reason="no"))
    assert await gate.once() == 1
    assert await gate.admitted() == [third]


@pytest.mark.parametrize("died", [True, False], ids=["killed", "stopped"])
async def test_the_runs_of_a_process_that_is_gone_keep_their_permits_for_the_next_try(
    world: World, gate: Gate, *, died: bool
) -> None:
    run_ids = await world.store(6, policy=limited(concurrency=2))
    await gate.once()
    lease_id = await world.lease(seconds=60)
    assert len(await world.claim(lease_id, run_ids[:2])) == 2
    async with transaction(world.engine) as connection:
        await leases.end_lease(connection, lease_id)
    async with transaction(world.engine) as connection:
        assert len(await leases.free_runs(connection, [lease_id], died=died)) == 2
    assert await gate.once() == 0
    assert await gate.admitted() == run_ids[:2]
    for _ in range(3):
        await gate.succeed(await gate.admitted())
        await gate.once()
    assert await world.value("SELECT count(*) FROM runs WHERE status = 'succeeded'") == 6


async def test_two_relays_never_admit_more_together_than_one_may(world: World, gate: Gate) -> None:
    other = Gate(world)
    left = 60
    await world.store(left, policy=limited(concurrency=7))
    while left:
        await asyncio.gather(gate.once(), other.once(), gate.once(), other.once())
        admitted = await gate.admitted()
        assert len(admitted) == min(7, left)
        await gate.succeed(admitted[:5])
        left -= len(admitted[:5])
    await other.close()


async def test_a_lane_with_a_backlog_keeps_no_other_waiting(world: World, gate: Gate) -> None:
    for _ in range(4):
        await world.store(5000, policy=limited(key="noisy", concurrency=2))
    await gate.once()
    quiet = await world.store(2, policy=limited(key="quiet", concurrency=2))
    assert await gate.once() == 2
    assert set(quiet) <= set(await gate.admitted())


async def test_lanes_take_turns_at_a_limit_that_they_share(world: World, gate: Gate) -> None:
    def shared(key: str) -> RunPolicy:
        return RunPolicy(
            limits=(LimitKey(name="all", key="", concurrency=3), LimitKey(name="tenant", key=key, concurrency=100))
        )

    owner: dict[UUID, str] = {}
    for key, count in (("noisy", 40), ("b", 8), ("c", 8)):
        owner |= dict.fromkeys(await world.store(count, policy=shared(key)), key)
    taken: Counter[str] = Counter()
    for _ in range(6):
        await gate.once()
        admitted = await gate.admitted()
        taken += Counter(owner[run_id] for run_id in admitted)
        await gate.succeed(admitted)
    assert taken == {"noisy": 6, "b": 6, "c": 6}


async def test_a_pass_looks_at_some_of_many_lanes_and_the_next_at_the_others(world: World, gate: Gate) -> None:
    for key in range(1200):
        await world.store(1, policy=limited(key=str(key), concurrency=1))
    passes = [await gate.once() for _ in range(4)]
    assert passes[0] == 500
    assert sum(passes) == 1200


async def test_higher_priorities_get_the_permits_first(world: World, gate: Gate) -> None:
    low = await world.store(3, policy=limited(concurrency=2))
    high = await world.store(3, policy=limited(concurrency=2, priority=5))
    await gate.once()
    assert await gate.admitted() == high[:2]
    await gate.succeed(high[:2])
    await gate.once()
    assert await gate.admitted() == sorted([high[2], low[0]])


async def test_a_node_with_limits_puts_its_run_off_until_they_admit_it(world: World, gate: Gate) -> None:
    first, second = await world.store(2)
    limits = (LimitKey(name="vendor", key="a", concurrency=1),)
    reached = Suspended(node="ask", reason=QueueReason.LIMITED, limits=limits)
    await world.finish(await gate.claim([first, second]), reached)
    assert await world.value("SELECT count(*) FROM runs WHERE status = 'queued' AND reason = 'limited'") == 2
    assert await world.value("SELECT sum(errors) FROM runs") == 0
    assert await gate.once() == 1
    assert await gate.claim([second]) == []
    (claimed,) = await gate.claim([first])
    assert (claimed.attempt, claimed.limits) == (2, limits)
    await world.finish([claimed], Succeeded())
    assert await gate.once() == 1


async def test_a_suspension_and_an_end_share_a_statement(world: World, gate: Gate) -> None:
    limits = (LimitKey(name="vendor", key="a", concurrency=1),)
    first, second = await world.store(2)
    both = await gate.claim([first, second])
    asked = Suspended(node="ask", reason=QueueReason.LIMITED, limits=limits)
    outcomes: dict[UUID, Outcome] = {first: asked, second: Retry(delay=0.0, error=ERROR)}
    async with transaction(world.engine) as connection:
        await finish_runs(connection, [finish_of(run, outcomes[run.run_id]) for run in both])
    assert await world.value("SELECT lane IS NULL FROM runs WHERE run_id = :id", id=second)
    assert len(await gate.claim([second])) == 1, "it has no limits, and waits for none"
    assert await gate.once() == 1


async def test_permits_that_nobody_asks_for_again_are_cleared_away(world: World, gate: Gate) -> None:
    held = await world.store(2, policy=limited(concurrency=5))
    rated = await world.store(2, policy=limited("calls", rate=5, per=3600.0))
    await gate.once()
    await gate.succeed(held + rated)
    sweeper = Gate(world)
    await sweeper.once()
    assert await world.value("SELECT count(*) FROM permits WHERE name = 'vendor'") == 0
    assert await world.value("SELECT count(*) FROM permits WHERE name = 'calls'") == 2, "the rate still counts them"
    await sweeper.close()


async def test_what_redis_lost_is_sent_again_with_the_permits_it_has(world: World, gate: Gate) -> None:
    run_ids = await world.store(8, policy=limited(concurrency=3))
    async with world.relay(relay={"republish_after": 60.0}):
        await until(lambda: len(world.sent()) == 3)
        world.redis.flushall()
        await until(lambda: len(world.sent()) == 3, within=20.0)
        assert sorted(world.sent()) == run_ids[:3]
        await gate.succeed(run_ids[:3])
        await until(lambda: set(run_ids[3:6]) <= set(world.sent()), within=20.0)


async def test_runs_that_wait_are_no_backlog_of_the_queue(world: World, gate: Gate) -> None:
    await world.store(5, policy=limited(concurrency=2))
    await gate.once()
    async with world.engine.connect() as connection:
        (state,) = await standing.queue_states(connection)
        (limit,) = await permits.limit_states(connection)
    assert (state.due, state.limited) == (2, 3)
    assert limit == permits.LimitState(name="vendor", waiting=3, held=2)


async def test_a_limit_whose_number_went_down_lets_nobody_in_until_there_is_room(world: World, gate: Gate) -> None:
    before = await world.store(4, policy=limited(concurrency=4))
    await gate.once()
    await world.store(2, policy=limited(concurrency=2))
    assert await gate.once() == 0
    await gate.succeed(before[:2])
    assert await gate.once() == 0
    await gate.succeed(before[2:3])
    assert await gate.once() == 1


async def test_keys_of_any_length_and_alphabet_are_counted(world: World, gate: Gate) -> None:
    key = "鍵" * 255
    several = tuple(LimitKey(name=f"limit_{number}", key=key, concurrency=1) for number in range(8))
    await world.store(2, policy=RunPolicy(limits=several))
    assert await gate.once() == 1
    assert await gate.once() == 0
