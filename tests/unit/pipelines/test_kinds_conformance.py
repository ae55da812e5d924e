"""What holds of a node of every kind: one table of kinds, one suite."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from events import (
    Cancelled,
    Event,
    Failed,
    LimitKey,
    NodeStatus,
    Outcome,
    Permanent,
    QueueReason,
    Retry,
    Succeeded,
    Suspended,
    new_id,
)
from pipelines import (
    ConcurrentNode,
    EventSchema,
    Limit,
    MapNode,
    MemoryJournal,
    Node,
    NodeRecord,
    Pipeline,
    Route,
    RouterNode,
    Sleep,
    Stop,
    SubPipeline,
    TaskContext,
    WaitForEvent,
    WaitState,
    execute,
)

Act = Callable[[TaskContext[Any]], Any]


class Data(EventSchema):
    way: str = "on"


class Reply(BaseModel):
    text: str


class Before(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        return 1


class Other(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        return 2


class After(Node[str]):
    async def run(self, ctx: TaskContext[Data]) -> str:
        return f"after {ctx.output(Before)}"


@dataclass
class Kind:
    """A node ``tested`` of one kind, which does ``act`` in the node (and item) ``unit``, and what stands within it."""

    make: Callable[[Act, dict[str, Any]], type[Node[Any]]]
    unit: tuple[str, int] = ("tested", 0)
    within: set[str] = field(default_factory=set)
    waits: bool = False


async def done_by(act: Act, ctx: TaskContext[Any]) -> Any:
    given = act(ctx)
    return await given if inspect.isawaitable(given) else given


def unit_of(act: Act, attributes: dict[str, Any], *, name: str) -> type[Node[int]]:
    class Unit(Node[int]):
        async def run(self, ctx: TaskContext[Data]) -> int:
            await done_by(act, ctx)
            return 7

    Unit.name = name
    for attribute, value in attributes.items():
        setattr(Unit, attribute, value)
    return Unit


def split(attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the limits to the node itself, the rest to what stands within it."""
    outer = {name: value for name, value in attributes.items() if name == "limits"}
    return outer, {name: value for name, value in attributes.items() if name != "limits"}


def node(act: Act, attributes: dict[str, Any]) -> type[Node[Any]]:
    return unit_of(act, attributes, name="tested")


def router(act: Act, attributes: dict[str, Any]) -> type[Node[Any]]:
    class Choosing(RouterNode):
        name = "tested"
        routes = (Route(to=After, when=lambda _: True),)
        fallback = None

        async def run(self, ctx: TaskContext[Any]) -> str | None:
            await done_by(act, ctx)
            return await super().run(ctx)

    for attribute, value in attributes.items():
        setattr(Choosing, attribute, value)
    return Choosing


def concurrent(act: Act, attributes: dict[str, Any]) -> type[Node[Any]]:
    outer, inner = split(attributes)

    class Steady(Node[int]):
        async def run(self, _: TaskContext[Data]) -> int:
            return 3

    body = {"name": "tested", "nodes": (Steady, unit_of(act, inner, name="unit"))}
    return type("Both", (ConcurrentNode,), body | outer)


def mapped(act: Act, attributes: dict[str, Any]) -> type[Node[Any]]:
    class Each(MapNode[str, str]):
        name = "tested"

        def items(self, _: TaskContext[Data]) -> list[str]:
            return ["a", "b", "c"]

        async def each(self, ctx: TaskContext[Data], item: str) -> str:
            if ctx.item == 2:
                await done_by(act, ctx)
            return item.upper()

    for attribute, value in attributes.items():
        setattr(Each, attribute, value)
    return Each


def sub_pipeline(act: Act, attributes: dict[str, Any]) -> type[Node[Any]]:
    outer, inner = split(attributes)
    unit = unit_of(act, inner, name="unit")

    class First(Node[str]):
        async def run(self, ctx: TaskContext[Reply]) -> str:
            return ctx.data.text

    class Within(SubPipeline[int]):
        name = "tested"
        pipeline = Pipeline(name="inner", types=("x",), schema=Reply, start=First, edges={First: unit})
        result = unit

        def data(self, ctx: TaskContext[Data]) -> Reply:
            return Reply(text=str(ctx.output(Before)))

    for attribute, value in outer.items():
        setattr(Within, attribute, value)
    return Within


def wait(act: Act, _: dict[str, Any]) -> type[Node[Any]]:
    class Answered(WaitForEvent[Reply]):
        name = "tested"
        type = "reply"
        match = "data.text"
        timeout = 60.0

        def key(self, ctx: TaskContext[Data]) -> str:
            act(ctx)
            return "k"

    return Answered


def sleep(act: Act, _: dict[str, Any]) -> type[Node[Any]]:
    class Pause(Sleep):
        name = "tested"

        def seconds(self, ctx: TaskContext[Data]) -> float:
            act(ctx)
            return 60.0

    return Pause


KINDS = {
    "node": Kind(node),
    "router": Kind(router),
    "concurrent": Kind(concurrent, ("unit", 0), {"unit", "steady"}),
    "map": Kind(mapped, ("tested", 2)),
    "sub_pipeline": Kind(sub_pipeline, ("tested.unit", 0), {"tested.first", "tested.unit"}),
    "wait": Kind(wait, waits=True),
    "sleep": Kind(sleep, waits=True),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
called_kinds = pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS.values() if not kind.waits],
    ids=[name for name, kind in KINDS.items() if not kind.waits],
)


def make(kind: Kind, act: Act, **attributes: Any) -> Pipeline[Data]:
    tested = kind.make(act, attributes)
    edges = {Before: tested} if issubclass(tested, RouterNode) else {Before: tested, tested: After}
    return Pipeline(name="p", types=("t",), schema=Data, start=Before, edges=edges)


def event(**data: str) -> Event:
    return Event(event_id=new_id(), ce_id="1", type="t", data=dict(data), received_at=datetime.now(UTC))


async def run(pipeline: Pipeline[Data], journal: MemoryJournal, **tried: Any) -> Outcome:
    """Run one try; what it waits for is over at once."""
    made = pipeline.context(tried.pop("event", event()), **tried)
    outcome = await execute(pipeline, made, journal)
    if isinstance(outcome, Suspended) and outcome.reason in (QueueReason.WAITING, QueueReason.SLEEPING):
        tried["done"] = {**tried.get("done", {}), **journal.done}
        return await execute(
            pipeline, pipeline.context(made.event, waits={outcome.node: WaitState(remaining=0.0)}, **tried), journal
        )
    return outcome


def statuses(journal: MemoryJournal) -> dict[tuple[str, int], NodeStatus]:
    return {key: record.status for key, record in journal.done.items()}


def failing(*errors: BaseException) -> tuple[Act, list[str]]:
    """Return what fails with each of the errors in turn, then works, and its calls."""
    calls: list[str] = []

    def act(ctx: TaskContext[Any]) -> None:
        calls.append(ctx.idempotency_key)
        if len(calls) <= len(errors):
            raise errors[len(calls) - 1]

    return act, calls


def no_task_is_left() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


@every_kind
async def test_it_succeeds_and_all_within_it_is_recorded_once(kind: Kind) -> None:
    act, _ = failing()
    journal = MemoryJournal()
    pipeline = make(kind, act)
    assert await run(pipeline, journal) == Succeeded()
    assert {name for name, item in statuses(journal) if not item} == set(pipeline.all_steps)
    assert set(statuses(journal).values()) == {NodeStatus.SUCCEEDED}
    assert len(journal.records) == len(journal.done)
    assert set(pipeline.all_steps) == {"before", "tested", "after"} | kind.within


@every_kind
async def test_it_is_tried_again_and_what_is_done_is_not_called_again(kind: Kind) -> None:
    act, calls = failing(OSError("away"))
    pipeline, journal, run_id = make(kind, act), MemoryJournal(), new_id()
    first = await run(pipeline, journal, run_id=run_id)
    assert isinstance(first, Retry)
    assert (first.error.type, first.error.message, first.error.node) == ("OSError", "away", kind.unit[0])
    assert journal.done[kind.unit].status is NodeStatus.FAILED
    again = MemoryJournal()
    tried = {"attempt": 2, "errors_by_node": {kind.unit[0]: 1}, "done": journal.done, "run_id": run_id}
    assert await run(pipeline, again, **tried) == Succeeded()
    assert len(calls) == 2
    assert len(set(calls)) == 1
    done = {key for key, status in statuses(journal).items() if status is NodeStatus.SUCCEEDED}
    assert done
    assert not done & set(again.done)


@every_kind
async def test_a_permanent_error_and_the_last_of_its_tries_end_the_run(kind: Kind) -> None:
    act, _ = failing(Permanent("never"), OSError("away"))
    pipeline = make(kind, act)
    permanent = await run(pipeline, MemoryJournal())
    assert isinstance(permanent, Failed)
    assert permanent.error.node == kind.unit[0]
    spent = await run(pipeline, MemoryJournal(), errors_by_node={kind.unit[0]: 2}, attempt=3)
    assert isinstance(spent, Failed)


@called_kinds
async def test_it_is_ended_when_its_time_is_over(kind: Kind) -> None:
    async def forever(_: TaskContext[Any]) -> None:
        await asyncio.Event().wait()

    outcome = await run(make(kind, forever, timeout=0.01), MemoryJournal())
    assert isinstance(outcome, Retry)
    assert outcome.error.message == f"node {kind.unit[0]!r} took longer than its 0.01 s"
    assert no_task_is_left()


@called_kinds
async def test_a_cancel_from_outside_ends_it_and_leaves_no_task(kind: Kind) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def patient(_: TaskContext[Any]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    journal = MemoryJournal()
    task = asyncio.create_task(run(make(kind, patient), journal))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
    assert kind.unit not in journal.done
    assert no_task_is_left()


class Crash(BaseException):
    """The process died."""


@every_kind
@pytest.mark.parametrize("kept", [False, True], ids=["before it was kept", "after it was kept"])
async def test_it_goes_on_from_what_was_kept_when_the_process_died(kind: Kind, *, kept: bool) -> None:
    class Dying(MemoryJournal):
        async def record(self, result: NodeRecord, *, durable: bool) -> None:
            if (result.node, result.item) == kind.unit and not kept:
                raise Crash
            await super().record(result, durable=durable)
            if (result.node, result.item) == kind.unit:
                raise Crash

    act, calls = failing()
    pipeline, dying = make(kind, act), Dying()
    with pytest.raises(Crash):
        await run(pipeline, dying)
    assert no_task_is_left()
    first = len(calls)
    again = MemoryJournal()
    assert await run(pipeline, again, attempt=2, done=dying.done) == Succeeded()
    assert ("before", 0) not in again.done
    assert (len(calls) == first) is (kept)


async def test_a_cancel_by_the_journal_ends_all_branches() -> None:
    class Lost(MemoryJournal):
        def begin(self) -> None:
            if self.records and self.records[-1].node == "before":
                return
            if any(record.node == "steady" for record in self.records):
                raise asyncio.CancelledError("the lease is lost")

    async def late(_: TaskContext[Any]) -> None:
        await asyncio.Event().wait()

    class Third(Node[int]):
        async def run(self, _: TaskContext[Data]) -> int:
            return 1

    both: Any = concurrent(late, {})
    both.nodes, both.limit = (*both.nodes, Third), 2
    pipeline = Pipeline(name="p", types=("t",), schema=Data, start=Before, edges={Before: both})
    with pytest.raises(asyncio.CancelledError):
        await run(pipeline, Lost())
    assert no_task_is_left()


@every_kind
async def test_it_is_not_begun_in_a_run_that_is_to_end(kind: Kind) -> None:
    act, calls = failing()
    pipeline = make(kind, act)
    context = pipeline.context(event())
    context.cancel("by alice")
    journal = MemoryJournal()
    assert await execute(pipeline, context, journal) == Cancelled(reason="by alice")
    assert (calls, journal.records) == ([], [])


@every_kind
async def test_a_run_that_has_ended_calls_and_records_nothing_again(kind: Kind) -> None:
    act, calls = failing()
    pipeline, journal, again = make(kind, act), MemoryJournal(), MemoryJournal()
    await run(pipeline, journal)
    called = len(calls)
    assert await run(pipeline, again, attempt=2, done=journal.done) == Succeeded()
    assert (len(calls), again.records) == (called, [])


@every_kind
async def test_it_is_recorded_as_skipped_with_all_within_it_where_the_way_leads_elsewhere(kind: Kind) -> None:
    act, calls = failing()
    tested: Any = kind.make(act, {})

    class Parting(RouterNode):
        routes = (Route(to=tested, when=lambda ctx: ctx.data.way == "on"),)
        fallback = Other

    pipeline = Pipeline(name="p", types=("t",), schema=Data, start=Before, edges={Before: Parting})
    journal = MemoryJournal()
    assert await run(pipeline, journal, event=event(way="away")) == Succeeded()
    skipped = {name for (name, _), status in statuses(journal).items() if status is NodeStatus.SKIPPED}
    assert skipped == set(pipeline.all_steps) - {"before", "parting", "other"}
    assert calls == []


@called_kinds
async def test_it_is_put_off_until_its_limits_have_admitted_the_run(kind: Kind) -> None:
    act, calls = failing()
    limit = Limit(name="scarce", by="source", concurrency=2)
    pipeline = make(kind, act, limits=(limit,))
    wanted = LimitKey(name="scarce", key="", concurrency=2)
    journal = MemoryJournal()
    put_off = await run(pipeline, journal)
    assert isinstance(put_off, Suspended)
    assert (put_off.node, put_off.reason, put_off.delay) == ("tested", QueueReason.LIMITED, 0.0)
    assert [(one.name, one.concurrency) for one in put_off.limits] == [("scarce", 2)]
    assert (calls, set(journal.done)) == ([], {("before", 0)})
    permits = (LimitKey(name=wanted.name, key=put_off.limits[0].key, concurrency=2),)
    assert await run(pipeline, journal, permits=permits, done=journal.done, attempt=2) == Succeeded()


@every_kind
async def test_it_may_stop_the_run_which_stays_stopped(kind: Kind) -> None:
    act, calls = failing(Stop("enough"))
    pipeline, journal = make(kind, act), MemoryJournal()
    assert await run(pipeline, journal) == Succeeded()
    assert journal.done[kind.unit].status is NodeStatus.STOPPED
    assert journal.done[kind.unit].output == {"reason": "enough"}
    assert journal.done["tested", 0].status is NodeStatus.STOPPED
    assert journal.done["after", 0].status is NodeStatus.SKIPPED
    assert {name for name, _ in journal.done} == set(pipeline.all_steps)
    again = MemoryJournal()
    stopped = {key: record for key, record in journal.done.items() if record.status is not NodeStatus.SKIPPED}
    assert await run(pipeline, again, attempt=2, done=stopped) == Succeeded()
    assert len(calls) == 1
    assert {record.status for record in again.records} == {NodeStatus.SKIPPED}


@every_kind
def test_it_is_described_with_all_within_it(kind: Kind) -> None:
    described = {one.name: one for one in make(kind, failing()[0]).describe().nodes}
    name = next(name for name, other in KINDS.items() if other is kind)
    assert described["tested"].kind == name
    assert {one.name for one in described["tested"].nodes} == kind.within
