"""What nodes within others see of each other, and by which limits a run is admitted for them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from events import Event, Outcome, Succeeded, Suspended, new_id
from pipelines import (
    ConcurrentNode,
    EventSchema,
    Limit,
    MemoryJournal,
    Node,
    Pipeline,
    SubPipeline,
    TaskContext,
    execute,
)

AROUND = Limit(name="around", concurrency=1)
NARROW = Limit(name="narrow", concurrency=1)


class Data(EventSchema):
    number: int = 0


class Left(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        return ctx.data.number


class Right(Node[bool]):
    async def run(self, ctx: TaskContext[Data]) -> bool:
        return ctx.output_or_none(Left) is not None


class InOrder(ConcurrentNode):
    nodes = (Left, Right)
    limit = 1


class Shared(Node[str]):
    async def run(self, ctx: TaskContext[Data]) -> str:
        return f"shared in {ctx.node}"


lookup = Pipeline(name="lookup", types=("t",), schema=Data, start=Shared)


class LookUp(SubPipeline[str]):
    pipeline = lookup
    result = Shared

    def data(self, ctx: TaskContext[Data]) -> Data:
        return ctx.data


class Nested(ConcurrentNode):
    nodes = (LookUp,)


class Outermost(ConcurrentNode):
    nodes = (Nested,)


class Report(Node[list[Any]]):
    async def run(self, ctx: TaskContext[Data]) -> list[Any]:
        return [ctx.output_or_none(node) for node in (Left, Right, LookUp, Shared)]


class Open(Node[None]):
    async def run(self, _: TaskContext[Data]) -> None:
        return None


class Limited(Node[str]):
    limits = (NARROW,)

    async def run(self, ctx: TaskContext[Data]) -> str:
        return ctx.node


limited = Pipeline(name="limited", types=("t",), schema=Data, start=Open, edges={Open: Limited}, limits=(AROUND,))


class Guarded(SubPipeline[str]):
    pipeline = limited
    result = Limited

    def data(self, ctx: TaskContext[Data]) -> Data:
        return ctx.data


async def run(start: type[Node[Any]], *following: type[Node[Any]], journal: MemoryJournal, **tried: Any) -> Outcome:
    edges = dict(zip((start, *following), following, strict=False))
    pipeline = Pipeline(name="p", types=("t",), schema=Data, start=start, edges=edges)
    event = Event(event_id=new_id(), ce_id="1", type="t", data={"number": 4}, received_at=datetime.now(UTC))
    return await execute(pipeline, pipeline.context(event, **tried), journal)


async def test_no_branch_sees_what_one_before_it_gave_back() -> None:
    journal = MemoryJournal()
    assert await run(InOrder, journal=journal) == Succeeded()
    assert journal.done["right", 0].output is False


@pytest.mark.parametrize(
    ("start", "seen"),
    [(InOrder, [4, False, None, None]), (Outermost, [None, None, "shared in look_up.shared", None])],
)
async def test_what_follows_sees_each_branch_but_nothing_within_a_sub_pipeline_also_in_a_later_try(
    start: type[Node[Any]], seen: list[Any]
) -> None:
    journal = MemoryJournal()
    assert await run(start, Report, journal=journal) == Succeeded()
    done = journal.done
    assert done.pop(("report", 0)).output == seen
    later = MemoryJournal()
    assert await run(start, Report, journal=later, done=done) == Succeeded()
    assert [(record.node, record.output) for record in later.records] == [("report", seen)]


async def test_a_run_held_back_at_an_inner_node_asks_for_the_limits_around_it_as_well() -> None:
    """Otherwise a run that is admitted by one of them would lack the other, by turns and for ever."""
    first = await run(Guarded, journal=MemoryJournal())
    assert isinstance(first, Suspended)
    assert {limit.name for limit in first.limits} == {"around"}
    journal = MemoryJournal()
    second = await run(Guarded, journal=journal, permits=first.limits)
    assert isinstance(second, Suspended)
    assert {limit.name for limit in second.limits} == {"around", "narrow"}
    assert await run(Guarded, journal=MemoryJournal(), done=journal.done, permits=second.limits) == Succeeded()
