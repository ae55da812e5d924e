"""What holds of every kind of node."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events import Cancelled, Event, Failed, NodeStatus, Outcome, QueueReason, Retry, Succeeded, Suspended, new_id
from pipelines import (
    Branches,
    ConcurrentNode,
    EventSchema,
    Limit,
    MapNode,
    MemoryJournal,
    Node,
    NodeRecord,
    Pipeline,
    RetryPolicy,
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

calls_made: list[str] = []
raising: dict[str, BaseException] = {}
GATE = Limit(name="gate", concurrency=1)


class Data(EventSchema):
    number: int = 0


class ProcessEnds(BaseException):
    """The process dies, or the run has passed to another attempt."""


def called(ctx: TaskContext[Any]) -> int:
    """Tell of a call, and raise what is to be raised there."""
    name = f"{ctx.node}:{ctx.item}" if ctx.item else ctx.node
    calls_made.append(name)
    if (error := raising.get(name)) is not None:
        raise error
    return len(name)


class Async(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        return called(ctx)


class Sync(Node[int]):
    def run(self, ctx: TaskContext[Data]) -> int:
        return called(ctx)


class Left(Async):
    pass


class Right(Sync):
    pass


class Both(ConcurrentNode):
    nodes = (Left, Right)


class Each(MapNode[int, int]):
    def items(self, _: TaskContext[Data]) -> list[int]:
        return [10, 20, 30]

    async def each(self, ctx: TaskContext[Data], item: int) -> int:
        return called(ctx) + item


class First(Async):
    pass


class Second(Async):
    pass


inner = Pipeline(
    name="inner", types=("inner",), schema=Data, start=First, edges={First: Second}, retry=RetryPolicy(base=0.0)
)


class Within(SubPipeline[int]):
    pipeline = inner
    result = Second

    def data(self, ctx: TaskContext[Data]) -> Data:
        return ctx.data


class Last(Async):
    pass


class Choose(RouterNode):
    routes = (Route(to=Last, when=lambda ctx: called(ctx) > 0),)
    fallback = None


class Answer(WaitForEvent[Data]):
    type = "answer"
    match = "data.number"
    timeout = timedelta(hours=1)

    def key(self, ctx: TaskContext[Data]) -> str:
        return str(ctx.data.number)


class Nap(Sleep):
    duration = 60.0


@dataclass(frozen=True)
class Case:
    """A kind: what it calls, and what waits it must find ended before it is done."""

    node: type[Node[Any]]
    calls: tuple[str, ...]
    waits: dict[str, WaitState] = field(default_factory=dict)

    @property
    def pipeline(self) -> Pipeline[Data]:
        edges: dict[Any, Any] = {} if issubclass(self.node, RouterNode) else {self.node: Last}
        policy = RetryPolicy(max_attempts=3, base=0.0, retry_on=(OSError,))
        return Pipeline(name="p", types=("t",), schema=Data, start=self.node, edges=edges, retry=policy)


def event(number: int = 1) -> Event:
    return Event(event_id=new_id(), ce_id="1", type="t", data={"number": number}, received_at=datetime.now(UTC))


KINDS = {
    "async": Case(Async, ("async",)),
    "sync": Case(Sync, ("sync",)),
    "router": Case(Choose, ("choose",)),
    "concurrent": Case(Both, ("left", "right")),
    "map": Case(Each, ("each:1", "each:2", "each:3")),
    "sub_pipeline": Case(Within, ("within.first", "within.second")),
    "wait": Case(Answer, (), {"answer": WaitState(remaining=10, event=event(7))}),
    "sleep": Case(Nap, (), {"nap": WaitState(remaining=0)}),
}
CALLING = {name: case for name, case in KINDS.items() if case.calls}
every_kind = pytest.mark.parametrize("case", KINDS.values(), ids=KINDS)
calling_kind = pytest.mark.parametrize("case", CALLING.values(), ids=CALLING)


@pytest.fixture(autouse=True)
def _nothing_called_yet() -> None:
    calls_made.clear()
    raising.clear()


async def run(case: Case, journal: MemoryJournal, **tried: Any) -> Outcome:
    pipeline = case.pipeline
    return await execute(pipeline, pipeline.context(event(), **({"waits": case.waits} | tried)), journal)


@every_kind
async def test_it_is_done_once_and_what_follows_runs(case: Case) -> None:
    journal = MemoryJournal()
    assert await run(case, journal) == Succeeded()
    assert sorted(calls_made) == sorted([*case.calls, "last"])
    assert {record.status for record in journal.records} == {NodeStatus.SUCCEEDED}
    assert (case.node.name, 0) in journal.done


@every_kind
async def test_what_is_done_is_not_called_again(case: Case) -> None:
    journal = MemoryJournal()
    await run(case, journal)
    calls_made.clear()
    again = MemoryJournal()
    assert await run(case, again, done=journal.done, waits={}) == Succeeded()
    assert (calls_made, again.records) == ([], [])


@every_kind
async def test_a_cancel_ends_the_run_before_it(case: Case) -> None:
    pipeline, journal = case.pipeline, MemoryJournal()
    context = pipeline.context(event(), waits=case.waits)
    context.cancel("enough")
    assert await execute(pipeline, context, journal) == Cancelled(reason="enough")
    assert (calls_made, journal.records) == ([], [])


@calling_kind
async def test_an_error_is_tried_again_and_calls_only_what_failed(case: Case) -> None:
    journal, at = MemoryJournal(), case.calls[-1]
    raising[at] = OSError("down")
    outcome = await run(case, journal)
    assert isinstance(outcome, Retry)
    assert outcome.error.node == at.partition(":")[0]
    calls_made.clear()
    raising.clear()
    assert await run(case, MemoryJournal(), done=journal.done, errors_by_node={outcome.error.node: 1}) == Succeeded()
    assert calls_made == [at, "last"]


@calling_kind
async def test_errors_are_final_when_the_tries_are_spent(case: Case) -> None:
    at = case.calls[-1]
    raising[at] = OSError("down")
    node = at.partition(":")[0]
    assert isinstance(await run(case, MemoryJournal(), errors_by_node={node: 1}), Retry)
    assert isinstance(await run(case, MemoryJournal(), errors_by_node={node: 2}), Failed)


@calling_kind
@pytest.mark.parametrize("late", [False, True], ids=["at its first call", "at its last call"])
async def test_a_journal_that_breaks_ends_all_at_once_and_what_it_holds_is_resumed_from(case: Case, late: bool) -> None:
    at = case.calls[-1 if late else 0]

    class Breaking(MemoryJournal):
        async def record(self, result: NodeRecord, *, durable: bool) -> None:
            if at == (f"{result.node}:{result.item}" if result.item else result.node):
                raise ProcessEnds
            await super().record(result, durable=durable)

    journal = Breaking()
    with pytest.raises(ProcessEnds):
        await run(case, journal)
    kept = {f"{name}:{item}" if item else name for name, item in journal.done}
    calls_made.clear()
    assert await run(case, MemoryJournal(), done=journal.done) == Succeeded()
    assert sorted(calls_made) == sorted([*(set(case.calls) - kept), "last"])
    assert at in calls_made


@calling_kind
async def test_stop_ends_the_run_well_and_for_good(case: Case) -> None:
    journal = MemoryJournal()
    raising[case.calls[0]] = Stop("nothing to do")
    assert await run(case, journal) == Succeeded()
    assert "last" not in calls_made
    stopped = journal.done[case.node.name, 0]
    assert (stopped.status, stopped.output) == (NodeStatus.STOPPED, {"reason": "nothing to do"})
    assert journal.done["last", 0].status is NodeStatus.SKIPPED
    calls_made.clear()
    raising.clear()
    assert await run(case, MemoryJournal(), done=journal.done) == Succeeded()
    assert calls_made == []


@calling_kind
async def test_limits_hold_it_back_before_any_call(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case.node, "limits", (GATE,))
    outcome = await run(case, MemoryJournal())
    assert isinstance(outcome, Suspended)
    assert (outcome.node, outcome.reason, [one.name for one in outcome.limits]) == (
        case.node.name,
        QueueReason.LIMITED,
        ["gate"],
    )
    assert calls_made == []
    assert await run(case, MemoryJournal(), permits=outcome.limits) == Succeeded()


@every_kind
async def test_a_way_not_taken_is_recorded_as_skipped_with_all_within(case: Case) -> None:
    ways = (Route(to=case.node, when=lambda _: False),)
    end = Left if case.node is not Both else Async
    router: Any = type("Fork", (RouterNode,), {"routes": ways, "fallback": end})
    edges: dict[Any, Any] = {} if issubclass(case.node, RouterNode) else {case.node: Last}
    pipeline = Pipeline(name="p", types=("t",), schema=Data, start=router, edges=edges)
    journal = MemoryJournal()
    assert await execute(pipeline, pipeline.context(event()), journal) == Succeeded()
    assert calls_made == [end.name]
    skipped = {record.node for record in journal.records if record.status is NodeStatus.SKIPPED}
    assert skipped == {case.node.name, "last", *(name for name in case.calls if ":" not in name)}


@pytest.mark.parametrize(
    ("case", "reason"),
    [(KINDS["wait"], QueueReason.WAITING), (KINDS["sleep"], QueueReason.SLEEPING)],
    ids=["wait", "sleep"],
)
async def test_a_wait_that_lasts_lets_go_of_its_worker(case: Case, reason: QueueReason) -> None:
    journal = MemoryJournal()
    outcome = await run(case, journal, waits={})
    assert isinstance(outcome, Suspended)
    assert (outcome.node, outcome.reason, journal.records) == (case.node.name, reason, [])
    again = await run(case, journal, waits={case.node.name: WaitState(remaining=3.0)})
    assert isinstance(again, Suspended)
    assert again.delay == 3.0


@pytest.mark.parametrize("node", [Both, Each, Within])
async def test_a_cancel_within_keeps_what_is_done_and_calls_nothing_more(
    node: type[Node[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in KINDS.values() if case.node is node)
    if node is not Within:
        monkeypatch.setattr(node, "limit", 1)
    pipeline = case.pipeline
    context = pipeline.context(event())

    class Cancelling(MemoryJournal):
        async def record(self, result: NodeRecord, *, durable: bool) -> None:
            await super().record(result, durable=durable)
            context.cancel("enough")

    journal = Cancelling()
    assert await execute(pipeline, context, journal) == Cancelled(reason="enough")
    assert case.calls[:1] == tuple(calls_made)
    assert len(journal.records) == 1


@pytest.mark.parametrize("name", ["concurrent", "map"])
async def test_all_are_awaited_where_one_fails_for_good(name: str) -> None:
    case, journal = KINDS[name], MemoryJournal()
    raising[case.calls[0]] = ValueError("wrong")
    assert isinstance(await run(case, journal), Failed)
    assert sorted(calls_made) == sorted(case.calls)


async def test_each_branch_that_failed_is_named() -> None:
    raising.update(left=OSError("a"), right=OSError("b"))
    outcome = await run(KINDS["concurrent"], MemoryJournal())
    assert isinstance(outcome, Retry)
    assert (outcome.error.node, outcome.error.nodes) == ("both", ("left", "right"))


async def test_kept_failures_go_into_the_output_and_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Both, "keep_failures", True)
    case, journal = KINDS["concurrent"], MemoryJournal()
    raising.update(left=ValueError("wrong"), right=OSError("down"))
    assert isinstance(await run(case, journal), Retry)
    calls_made.clear()
    raising.clear()
    after = MemoryJournal()
    assert await run(case, after, done=journal.done, errors_by_node={"right": 1}) == Succeeded()
    assert calls_made == ["right", "last"]
    output = Branches.model_validate(after.done["both", 0].output)
    assert output == Branches(succeeded=["right"], failed={"left": "ValueError: wrong"})


async def test_no_branch_sees_another_and_what_follows_sees_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[bool, bool]] = {}

    def look(ctx: TaskContext[Data]) -> int:
        seen[ctx.node] = (ctx.output_or_none(Left) is not None, ctx.output_or_none(Right) is not None)
        return 1

    async def look_later(_: Any, ctx: TaskContext[Data]) -> int:
        return look(ctx)

    monkeypatch.setattr(Both, "limit", 1)
    monkeypatch.setattr(Right, "run", lambda _, ctx: look(ctx))
    monkeypatch.setattr(Last, "run", look_later)
    journal = MemoryJournal()
    case = KINDS["concurrent"]
    await run(case, journal)
    assert seen == {"right": (False, False), "last": (True, True)}
    del journal.records[-1]
    seen.clear()
    await run(case, MemoryJournal(), done=journal.done)
    assert seen == {"last": (True, True)}


async def test_a_map_over_nothing_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Each, "items", lambda *_: [])
    journal = MemoryJournal()
    assert await run(KINDS["map"], journal) == Succeeded()
    assert journal.done["each", 0].output == []


async def test_a_map_over_too_many_fails_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Each, "max_items", 2)
    outcome = await run(KINDS["map"], MemoryJournal())
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "node 'each' has 3 items, more than its max_items, 2"
    assert calls_made == []


async def test_keys_tell_items_and_inner_nodes_apart() -> None:
    context = KINDS["map"].pipeline.context(event())
    assert context.at("each", item=2).idempotency_key == f"{context.run_id}:each:2"
    assert context.at("within.first").idempotency_key == f"{context.run_id}:within.first"


async def test_a_node_within_is_put_off_with_the_limits_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a run admitted by one of them would lack the other, by turns and for ever."""
    around, narrow = Limit(name="around", concurrency=1), Limit(name="narrow", concurrency=1)
    monkeypatch.setattr(Second, "limits", (narrow,))
    limited = Pipeline(
        name="limited", types=("inner",), schema=Data, start=First, edges={First: Second}, limits=(around,)
    )
    monkeypatch.setattr(Within, "pipeline", limited)
    case = KINDS["sub_pipeline"]
    first = await run(case, MemoryJournal())
    assert isinstance(first, Suspended)
    journal = MemoryJournal()
    second = await run(case, journal, permits=first.limits)
    assert isinstance(second, Suspended)
    assert {one.name for one in second.limits} == {"around", "narrow"}
    assert await run(case, MemoryJournal(), done=journal.done, permits=second.limits) == Succeeded()


@pytest.mark.parametrize("node", [Both, Each, Async], ids=["concurrent", "map", "async"])
async def test_time_that_is_over_is_an_error_that_says_so(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in KINDS.values() if case.node is node)
    pipeline = case.pipeline
    context = pipeline.context(event())
    monkeypatch.setattr(time, "monotonic", lambda: context.deadline + 1)
    outcome = await execute(pipeline, context, MemoryJournal())
    assert isinstance(outcome, Retry)
    assert "the pipeline's time was over" in outcome.error.message
    assert calls_made == []
