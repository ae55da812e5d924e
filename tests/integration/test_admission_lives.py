"""Whatever happens to runs with limits, in any order: no limit is exceeded, and no permit is lost."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from events import ErrorInfo, Failed, FailureKind, LimitKey, Outcome, QueueReason, Retry, Succeeded, Suspended
from storage import cancels, leases
from storage.engine import transaction
from storage.policies import RunPolicy
from storage.records import ClaimedRun
from tests.support.admitting import Gate
from tests.support.relaying import TENANT, World

ValueT = TypeVar("ValueT")

OF_KEY = {key: LimitKey(name="key", key=key, concurrency=2) for key in "ab"}
OF_ALL = LimitKey(name="all", key="", concurrency=3)
AT_ONCE = {("key", "a"): 2, ("key", "b"): 2, ("all", ""): 3}
ERROR = ErrorInfo(type="ValueError", message="no")
OUTCOMES: list[Outcome] = [
    Succeeded(),
    Retry(delay=0.0, error=ERROR),
    Failed(kind=FailureKind.ERROR, error=ERROR),
    Suspended(node="n", reason=QueueReason.SLEEPING, delay=0.0),
    Suspended(node="n", reason=QueueReason.LIMITED, limits=(OF_KEY["a"], OF_KEY["b"], OF_ALL)),
]
POLICIES = [
    None,
    RunPolicy(limits=(OF_KEY["a"],)),
    RunPolicy(limits=(OF_KEY["b"], OF_ALL), priority=3),
    RunPolicy(limits=(OF_ALL,), unique_key="one"),
    RunPolicy(unique_key="one"),
]
GOOD = """
    SELECT p.name, p.key, count(*) FROM permits p JOIN runs r USING (tenant, run_id, admitted_at)
    WHERE r.finished_at IS NULL GROUP BY p.name, p.key
"""


class Scene:
    """What all lives of a test share."""

    def __init__(self, world: World, runner: asyncio.Runner) -> None:
        self.world = world
        self.runner = runner
        self.gates = [Gate(world), Gate(world)]


class Lives(RuleBasedStateMachine):
    """Runs, two relays, and workers that come and go."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.world, self.gates = scene.world, scene.gates
        self._runner = scene.runner
        self.runs: list[UUID] = []
        self.held: list[ClaimedRun] = []
        self.lease_id = UUID(int=0)

    def do(self, doing: Coroutine[Any, Any, ValueT]) -> ValueT:
        return self._runner.run(doing)

    async def execute(self, *statements: str) -> None:
        async with transaction(self.world.engine) as connection:
            for statement in statements:
                await connection.execute(text(statement))

    @initialize()
    def begin(self) -> None:
        self.do(self.execute("TRUNCATE events, permits, run_deltas, worker_leases CASCADE"))
        self.lease_id = self.do(self.world.lease(seconds=600))

    @rule(policy=st.sampled_from(POLICIES), count=st.integers(1, 4))
    def store(self, policy: RunPolicy | None, count: int) -> None:
        self.runs += self.do(self.world.store(count, policy=policy))

    @rule(relays=st.lists(st.integers(0, 1), min_size=1, max_size=3))
    def admit(self, relays: list[int]) -> None:
        async def together() -> None:
            await asyncio.gather(*(self.gates[relay].once() for relay in relays))

        self.do(together())

    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        """Whatever a message names, also from long ago, is claimed only where it may be."""
        if self.runs:
            named = data.draw(st.lists(st.sampled_from(self.runs), min_size=1, max_size=5, unique=True))
            self.held += self.do(self.world.claim(self.lease_id, named))

    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def finish(self, data: st.DataObject, outcome: Outcome) -> None:
        if self.held:
            run = data.draw(st.sampled_from(self.held))
            self.held.remove(run)
            self.do(self.world.finish([run], outcome))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        async def ask(run_id: UUID) -> None:
            async with transaction(self.world.engine) as connection:
                await cancels.request_cancel(connection, tenant=TENANT, run_ids=[run_id], reason="no")

        if self.runs:
            self.do(ask(data.draw(st.sampled_from(self.runs))))

    @rule(died=st.booleans())
    def lose_the_worker(self, *, died: bool) -> None:
        async def lose() -> None:
            async with transaction(self.world.engine) as connection:
                await leases.end_lease(connection, self.lease_id)
            async with transaction(self.world.engine) as connection:
                await leases.free_runs(connection, [self.lease_id], died=died)

        self.do(lose())
        self.held.clear()
        self.lease_id = self.do(self.world.lease(seconds=600))

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        async def good() -> dict[tuple[str, str], int]:
            async with self.world.engine.connect() as connection:
                return {(name, key): count for name, key, count in await connection.execute(text(GOOD))}

        found = self.do(good())
        assert all(count <= AT_ONCE[name] for name, count in found.items()), found

    def teardown(self) -> None:
        """Let everything that is left end, which takes every permit there is, and look for what can't be."""
        self.lose_the_worker(died=False)
        self.do(self.execute("UPDATE runs SET deaths = 0, queue = 'default', home_queue = NULL"))
        for _ in range(3 + len(self.runs)):
            self.admit([0])
            self.do(self.world.finish(self.do(self.world.claim(self.lease_id, self.runs)), Succeeded()))
        left = "SELECT count(*) FROM runs WHERE finished_at IS NULL"
        assert self.do(self.world.value(left)) == 0
        self.do(self.gates[0].check())


@pytest.fixture
def scene(database_url: str, redis_url: str) -> Iterator[Scene]:
    with asyncio.Runner() as runner:
        world = World(database_url=database_url, redis_url=redis_url)
        scene = Scene(world, runner)
        yield scene
        for gate in scene.gates:
            runner.run(gate.close())
        runner.run(world.__aexit__())


def test_no_order_of_things_exceeds_a_limit_or_loses_a_permit(scene: Scene) -> None:
    chosen = settings(
        max_examples=15,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    run_state_machine_as_test(lambda: Lives(scene), settings=chosen)
