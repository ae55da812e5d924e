"""How long a run may take in all, whatever its tries and waits."""

import asyncio
from typing import Any

import pytest

from events import Event, Failed, FailureKind, Outcome, Retry, RetryAfter, Succeeded
from pipelines import EventSchema, MemoryJournal, Node, Pipeline, RetryPolicy, TaskContext, execute
from pipelines.errors import InvalidTimeoutError
from tests.unit.pipelines.test_execution import event


class Data(EventSchema):
    number: int = 0


class Fine(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        return ctx.data.number


class Broken(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        raise RuntimeError("no")


class Busy(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        raise RetryAfter(600)


class Endless(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        await asyncio.Event().wait()
        return 0


def make(start: Any, **options: Any) -> Pipeline[Data]:
    retry = RetryPolicy(max_attempts=100, base=0.0)
    return Pipeline(name="p", types=("t",), schema=Data, start=start, **({"retry": retry} | options))


async def outcome_of(pipeline: Pipeline[Data], *, age: float = 0.0, of: Event | None = None) -> Outcome:
    return await execute(pipeline, pipeline.context(of or event(), age=age), MemoryJournal())


async def test_a_run_within_its_lifetime_is_tried_again_and_may_succeed() -> None:
    assert isinstance(await outcome_of(make(Broken, lifetime=60.0), age=50.0), Retry)
    assert await outcome_of(make(Fine, lifetime=60.0), age=50.0) == Succeeded()
    assert isinstance(await outcome_of(make(Broken), age=1e9), Retry)


@pytest.mark.parametrize(("node", "age"), [(Busy, 0.0), (Endless, 59.98)])
async def test_a_try_that_would_come_after_the_lifetime_is_not_waited_for(node: type[Node[int]], age: float) -> None:
    failed = await outcome_of(make(node, lifetime=60.0), age=age)
    assert isinstance(failed, Failed)
    assert failed.kind is FailureKind.TIMEOUT
    assert failed.error.node == node.name
    assert failed.error.type == ("RetryAfter" if node is Busy else "NodeTimeoutError")


async def test_no_node_of_a_run_that_waited_too_long_is_called() -> None:
    pipeline = make(Fine, lifetime=60.0)
    journal = MemoryJournal()
    context = pipeline.context(event(), age=60.1)
    assert context.remaining == 0
    failed = await execute(pipeline, context, journal)
    assert isinstance(failed, Failed)
    assert (failed.kind, journal.records[0].output) == (FailureKind.TIMEOUT, None)


@pytest.mark.parametrize("lifetime", [0, -1.0, float("inf"), True, "5"])
def test_a_lifetime_that_is_none_is_refused(lifetime: object) -> None:
    with pytest.raises(InvalidTimeoutError, match="lifetime"):
        make(Fine, lifetime=lifetime)
