"""What each kind of node does by itself; what holds of all of them is in test_kinds_conformance."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from events import (
    AwaitedEvent,
    Event,
    Failed,
    FailureKind,
    NodeStatus,
    Outcome,
    Permanent,
    QueueReason,
    Retry,
    RetryAfter,
    Succeeded,
    Suspended,
    new_id,
)
from observability.metrics import Metrics
from pipelines import (
    Branches,
    ConcurrentNode,
    EventSchema,
    Limit,
    MapNode,
    MemoryJournal,
    Node,
    Pipeline,
    PipelineRegistry,
    RetryPolicy,
    Sleep,
    Stop,
    SubPipeline,
    TaskContext,
    WaitForEvent,
    WaitState,
    execute,
)
from pipelines.lineage import nodes_before
from pipelines.work_map import MOST_FAILED


class Data(EventSchema):
    number: int = 0


class Reply(BaseModel):
    ticket: str
    said: str = ""


def event(**data: Any) -> Event:
    return Event(event_id=new_id(), ce_id="1", type="t", data=data, received_at=datetime.now(UTC))


def make(start: Any, *more: Any, **changes: Any) -> Pipeline[Data]:
    chain = (start, *more)
    edges = dict(zip(chain, more, strict=False))
    return Pipeline(**({"name": "p", "types": ("t",), "schema": Data, "start": start, "edges": edges} | changes))


async def run(pipeline: Pipeline[Data], journal: MemoryJournal | None = None, **tried: Any) -> Outcome:
    context = pipeline.context(tried.pop("event", event()), **tried)
    return await execute(pipeline, context, MemoryJournal() if journal is None else journal)


class Good(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        return 1


class Flaky(Node[int]):
    effects = True

    async def run(self, _: TaskContext[Data]) -> int:
        raise OSError("away")


class Busy(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        raise RetryAfter(90)


class Fatal(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        raise Permanent("no such customer")


def beside(*nodes: type[Node[Any]], **attributes: Any) -> type[ConcurrentNode]:
    return type("Both", (ConcurrentNode,), {"nodes": nodes, **attributes})


class Look(Node[list[Any]]):
    async def run(self, ctx: TaskContext[Data]) -> list[Any]:
        return [ctx.output_or_none(Good), ctx.output_or_none(Fatal)]


# --- branches


async def test_several_errors_are_told_together_and_the_longest_wait_counts() -> None:
    journal = MemoryJournal()
    outcome = await run(make(beside(Flaky, Good, Busy)), journal)
    assert isinstance(outcome, Retry)
    assert outcome.delay == 90
    assert (outcome.error.node, outcome.error.nodes) == ("both", ("flaky", "busy"))
    assert outcome.error.message == "2 branches of 'both' failed: OSError: away; RetryAfter: try again in 90 s"
    assert journal.done["good", 0].status is NodeStatus.SUCCEEDED


async def test_a_final_error_among_them_ends_the_run_and_is_what_it_failed_of() -> None:
    outcome = await run(make(beside(Flaky, Fatal)))
    assert isinstance(outcome, Failed)
    assert (outcome.error.message, outcome.error.node) == ("no such customer", "fatal")
    assert outcome.error.nodes == ("flaky", "fatal")


async def test_each_branch_has_tries_of_its_own() -> None:
    pipeline = make(beside(Flaky, Busy), retry=RetryPolicy(max_attempts=3))
    assert isinstance(await run(pipeline, errors_by_node={"flaky": 1, "busy": 1, "look": 2}), Retry)
    assert isinstance(await run(pipeline, errors_by_node={"flaky": 2}), Failed)


async def test_a_failure_that_is_kept_ends_nothing_and_is_not_tried_again() -> None:
    journal = MemoryJournal()
    both = beside(Good, Fatal, keep_failures=True)
    pipeline = make(both, Look)
    assert await run(pipeline, journal) == Succeeded()
    told = Branches(succeeded=["good"], failed={"fatal": "Permanent: no such customer"})
    assert journal.done["both", 0].output == told.model_dump()
    assert journal.done["look", 0].output == [1, None]
    assert journal.done["fatal", 0].status is NodeStatus.FAILED
    kept = {("fatal", 0): journal.done["fatal", 0], ("good", 0): journal.done["good", 0]}
    again = MemoryJournal()
    assert await run(pipeline, again, attempt=2, done=kept) == Succeeded()
    assert {name for name, _ in again.done} == {"both", "look"}
    assert again.done["both", 0].output == told.model_dump()


async def test_a_failure_that_may_pass_is_not_kept() -> None:
    pipeline = make(beside(Good, Flaky, keep_failures=True))
    assert isinstance(await run(pipeline), Retry)
    assert await run(pipeline, errors_by_node={"flaky": 2}) == Succeeded()


async def test_so_many_run_at_once_and_no_more() -> None:
    now, most = 0, 0

    class Counted(Node[None]):
        async def run(self, _: TaskContext[Data]) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            for _turn in range(5):
                await asyncio.sleep(0)
            now -= 1

    branches = tuple(type(f"C{n}", (Counted,), {}) for n in range(6))
    assert await run(make(beside(*branches, limit=2))) == Succeeded()
    assert most == 2


async def test_branches_begin_before_one_of_them_has_ended() -> None:
    met = asyncio.Barrier(2)

    class Here(Node[None]):
        async def run(self, _: TaskContext[Data]) -> None:
            await met.wait()

    class There(Here):
        pass

    assert await run(make(beside(Here, There))) == Succeeded()


async def test_the_end_of_one_branchs_time_is_no_cancel_of_the_others() -> None:
    late = asyncio.Event()

    class Slow(Node[None]):
        timeout = timedelta(milliseconds=5)

        async def run(self, _: TaskContext[Data]) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                late.set()

    class Patient(Node[bool]):
        async def run(self, ctx: TaskContext[Data]) -> bool:
            await late.wait()
            await asyncio.sleep(0)
            return ctx.cancelled

    journal = MemoryJournal()
    assert isinstance(await run(make(beside(Slow, Patient)), journal), Retry)
    assert journal.done["patient", 0].output is False


async def test_a_stop_waits_for_the_others_and_an_error_wins() -> None:
    class Enough(Node[None]):
        async def run(self, _: TaskContext[Data]) -> None:
            raise Stop("enough")

    journal = MemoryJournal()
    assert await run(make(beside(Enough, Good), Look), journal) == Succeeded()
    assert journal.done["good", 0].status is NodeStatus.SUCCEEDED
    assert journal.done["look", 0].status is NodeStatus.SKIPPED
    assert isinstance(await run(make(beside(Enough, Flaky), Look)), Retry)


# --- items


class Squares(MapNode[int, int]):
    limit = 3
    effects = True

    def items(self, ctx: TaskContext[Data]) -> Sequence[int]:
        return range(ctx.data.number)

    def each(self, ctx: TaskContext[Data], item: int) -> int:
        if item == 13:
            raise OSError(ctx.idempotency_key)
        return item * item


class Sum(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        return sum(ctx.output(Squares))


@pytest.mark.parametrize("number", [0, 1, 7])
async def test_the_results_stand_in_the_order_of_the_items(number: int) -> None:
    journal = MemoryJournal()
    assert await run(make(Squares, Sum), journal, event=event(number=number)) == Succeeded()
    assert journal.done["squares", 0].output == [n * n for n in range(number)]
    assert journal.done["sum", 0].output == sum(n * n for n in range(number))
    assert {item for name, item in journal.done if name == "squares"} == set(range(number + 1))


async def test_a_failed_item_is_named_by_its_key_and_the_others_are_done() -> None:
    journal, run_id = MemoryJournal(), new_id()
    outcome = await run(make(Squares), journal, event=event(number=20), run_id=run_id)
    assert isinstance(outcome, Retry)
    assert (outcome.error.message, outcome.error.node) == (f"{run_id}:squares:14", "squares")
    assert sum(record.status is NodeStatus.SUCCEEDED for record in journal.records) == 19


async def test_more_items_than_it_may_have_fail_the_run_at_once() -> None:
    few = type("Few", (Squares,), {"max_items": 3})
    outcome = await run(make(few), event=event(number=4))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.INVALID_OUTPUT
    assert outcome.error.message == "node 'few' has 4 items, more than its max_items, 3"


async def test_items_that_are_no_list_fail_the_run() -> None:
    text = type("Text", (Squares,), {"items": lambda *_: "abc"})
    outcome = await run(make(text))
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "node 'text' gave str as its items, not a list"


async def test_no_more_items_are_begun_where_very_many_fail() -> None:
    class Down(MapNode[int, int]):
        limit = 1

        def items(self, _: TaskContext[Data]) -> Sequence[int]:
            return range(10 * MOST_FAILED)

        async def each(self, _: TaskContext[Data], item: int) -> int:
            raise OSError(item)

    journal = MemoryJournal()
    outcome = await run(make(Down), journal)
    assert isinstance(outcome, Retry)
    assert outcome.error.message.startswith("100 of 1000 items of 'down' failed: OSError: 0; ")
    assert len(journal.records) == MOST_FAILED + 1


# --- pipelines within


class Lookup(Node[str]):
    async def run(self, ctx: TaskContext[Reply]) -> str:
        return f"{ctx.data.ticket} in {ctx.event.type}"


class Enrich(SubPipeline[str]):
    pipeline = Pipeline(
        name="lookup",
        types=("x",),
        schema=Reply,
        start=Good,
        edges={Good: Lookup},
        timeout=20.0,
        retry=RetryPolicy(max_attempts=2),
        limits=(Limit(name="crm", concurrency=1),),
    )
    result = Lookup

    def data(self, ctx: TaskContext[Data]) -> Reply:
        return Reply(ticket=f"T-{ctx.data.number}")


async def test_inner_nodes_see_their_own_data_and_the_result_is_the_nodes_output() -> None:
    class Then(Node[list[Any]]):
        async def run(self, ctx: TaskContext[Data]) -> list[Any]:
            return [ctx.output(Enrich), ctx.output_or_none(Lookup), ctx.data.number]

    pipeline, journal = make(Enrich, Then), MemoryJournal()
    put_off = await run(pipeline, journal, event=event(number=4))
    assert isinstance(put_off, Suspended)
    assert [limit.name for limit in put_off.limits] == ["crm"]
    assert await run(pipeline, journal, event=event(number=4), permits=put_off.limits) == Succeeded()
    assert journal.done["then", 0].output == ["T-4 in t", None, 4]
    assert list(pipeline.all_steps) == ["enrich", "enrich.good", "enrich.lookup", "then"]


async def test_inner_nodes_are_judged_by_the_inner_policy_together() -> None:
    class Risky(Enrich):
        pipeline = Pipeline(
            name="risky",
            types=("x",),
            schema=Reply,
            start=Flaky,
            edges={Flaky: Lookup},
            retry=RetryPolicy(max_attempts=2),
        )

    pipeline = make(Risky, retry=RetryPolicy(max_attempts=9))
    assert isinstance(await run(pipeline, errors_by_node={"good": 5}), Retry)
    assert isinstance(await run(pipeline, errors_by_node={"risky.lookup": 1}), Failed)


async def test_wrong_data_for_the_inner_pipeline_fails_the_run() -> None:
    class Wrong(Enrich):
        pipeline = Pipeline(name="wrong", types=("x",), schema=Reply, start=Lookup)

        def data(self, ctx: TaskContext[Data]) -> Any:
            return ctx.data

    outcome = await run(make(Wrong))
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "node 'wrong' gave Data as the data of 'wrong', not Reply"


async def test_what_is_done_within_stays_done_from_wherever_a_run_begins_again() -> None:
    pipeline = make(beside(Good, Enrich), Look)
    assert nodes_before(pipeline.steps, "look") == {"both", "good", "enrich", "enrich.good", "enrich.lookup"}
    assert nodes_before(pipeline.steps, "enrich.lookup") == {"good", "enrich.good"}
    assert nodes_before(pipeline.steps, "good") == {"enrich", "enrich.good", "enrich.lookup"}
    assert nodes_before(pipeline.steps, "both") == frozenset()


async def test_series_are_named_after_nodes_of_the_graph_alone() -> None:
    registry = CollectorRegistry()
    pipeline = make(Enrich, Squares)
    put_off = await run(pipeline)
    assert isinstance(put_off, Suspended)
    made = pipeline.context(event(number=3), permits=put_off.limits)
    await execute(pipeline, made, MemoryJournal(), metrics=Metrics(registry))
    name = "throughline_node_duration_seconds_count"
    counted = {
        sample.labels["node"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }
    assert counted == {"enrich": 1.0, "enrich.good": 1.0, "enrich.lookup": 1.0, "squares": 3.0}


# --- waits


class Answer(WaitForEvent[Reply]):
    type = "ticket.reply"
    match = "data.ticket"
    timeout = timedelta(hours=2)

    def key(self, ctx: TaskContext[Data]) -> str:
        return f"T-{ctx.data.number}"


class Heard(Node[str]):
    async def run(self, ctx: TaskContext[Data]) -> str:
        reply = ctx.output(Answer)
        return "nothing" if reply is None else reply.said


def reply(**data: Any) -> Event:
    return Event(event_id=new_id(), ce_id="2", type="ticket.reply", data=data, received_at=datetime.now(UTC))


async def test_a_wait_puts_the_run_off_for_as_long_as_it_may_take() -> None:
    pipeline, journal = make(Answer, Heard), MemoryJournal()
    awaited = AwaitedEvent(type="ticket.reply", path="data.ticket", key="T-5")
    assert await run(pipeline, journal, event=event(number=5)) == Suspended(
        node="answer", reason=QueueReason.WAITING, delay=7200.0, awaited=awaited
    )
    again = await run(pipeline, journal, event=event(number=5), waits={"answer": WaitState(remaining=12.0)})
    assert again == Suspended(node="answer", reason=QueueReason.WAITING, delay=12.0, awaited=awaited)
    assert journal.records == []


@pytest.mark.parametrize(
    ("state", "heard"),
    [
        (WaitState(remaining=60.0, event=reply(ticket="T-5", said="yes", more=1)), "yes"),
        (WaitState(remaining=0.0), "nothing"),
    ],
)
async def test_a_wait_ends_with_the_event_or_with_its_time(state: WaitState, heard: str) -> None:
    journal = MemoryJournal()
    assert await run(make(Answer, Heard), journal, waits={"answer": state}) == Succeeded()
    assert journal.done["heard", 0].output == heard


async def test_an_event_that_does_not_fit_fails_the_run() -> None:
    outcome = await run(make(Answer), waits={"answer": WaitState(remaining=1.0, event=reply(said="yes"))})
    assert isinstance(outcome, Failed)
    assert outcome.error.message == (
        "node 'answer' waited for an event whose data does not fit Reply: 'ticket' is missing"
    )


async def test_a_run_waits_no_longer_than_it_may_live() -> None:
    outcome = await run(make(Answer, lifetime=50.0))
    assert isinstance(outcome, Suspended)
    assert 49.0 < outcome.delay <= 50.0


@pytest.mark.parametrize(
    ("duration", "delay"), [(90, 90.0), (timedelta(days=2), 172_800.0)], ids=["seconds", "timedelta"]
)
async def test_a_sleep_puts_the_run_off(duration: Any, delay: float) -> None:
    pause = type("Pause", (Sleep,), {"duration": duration})
    assert await run(make(pause)) == Suspended(node="pause", reason=QueueReason.SLEEPING, delay=delay)
    assert await run(make(pause), waits={"pause": WaitState(remaining=0.0)}) == Succeeded()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1.0, "node 'odd' would sleep for -1.0 s; it may for 0 to 31622400, which are 366 days"),
        (float("nan"), "node 'odd' would sleep for nan s; it may for 0 to 31622400, which are 366 days"),
        ("soon", "node 'odd' gave str as the seconds that it sleeps, not a number"),
    ],
)
async def test_a_sleep_that_is_none_fails_the_run(seconds: Any, said: str) -> None:
    outcome = await run(make(type("Odd", (Sleep,), {"seconds": lambda *_: seconds})))
    assert isinstance(outcome, Failed)
    assert outcome.error.message == said


async def test_a_sleep_of_no_time_does_not_put_the_run_off() -> None:
    assert await run(make(type("None_", (Sleep,), {"name": "none", "seconds": lambda *_: 0}))) == Succeeded()


def test_what_is_awaited_is_known_with_the_schema_that_it_is_checked_by() -> None:
    class Ask(SubPipeline[Reply | None]):
        pipeline = make(Answer)
        result = Answer

        def data(self, ctx: TaskContext[Data]) -> Data:
            return ctx.data

    pipeline = make(Ask)
    (awaited,) = pipeline.awaits
    assert (awaited.type, awaited.path, awaited.schema, awaited.node) == (
        "ticket.reply",
        "data.ticket",
        Reply,
        "ask.answer",
    )
    registry = PipelineRegistry((pipeline,))
    assert registry.awaited("ticket.reply") == (awaited,)
    assert registry.awaited("t") == ()
    assert [problem.path for problem in registry.validate("ticket.reply", {})] == [("data", "ticket")]
