import asyncio
import contextvars
import math
import threading
import types
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, cast

import pytest
from opentelemetry import trace
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

from events import (
    Cancelled,
    Event,
    Failed,
    FailureKind,
    NodeStatus,
    Outcome,
    Permanent,
    Retry,
    RetryAfter,
    Succeeded,
    new_id,
)
from observability.metrics import Metrics
from observability.tracing import configure_tracing
from pipelines import (
    EventSchema,
    MemoryJournal,
    Node,
    NodeRecord,
    Pipeline,
    RetryPolicy,
    Route,
    RouterNode,
    TaskContext,
    call,
    execute,
)
from settings import TelemetrySettings


class Data(EventSchema):
    number: int = 0


class Total(BaseModel):
    value: int
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    tags: list[str] = []


class Base(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        return ctx.data.number


class Sum(Node[Total]):
    async def run(self, ctx: TaskContext[Data]) -> Total:
        return Total(value=ctx.data.number)


class Double(Node[Total]):
    async def run(self, ctx: TaskContext[Data]) -> Total:
        return Total(value=2 * ctx.output(Sum).value)


def node(run: Callable[[TaskContext[Any]], Any], *, output: Any = Any, name: str = "tested", **attributes: Any) -> Any:
    """Make a node class out of a function, sync or async."""
    body = {"run": staticmethod(run), "name": name, **attributes}
    return types.new_class(name.title(), (Node[output],), exec_body=lambda namespace: namespace.update(body))


def event(number: object = 1) -> Event:
    return Event(event_id=new_id(), ce_id="1", type="t", data={"number": number}, received_at=datetime.now(UTC))  # type: ignore[dict-item]  # a wrong one too


def make(start: Any, *more: Any, **changes: Any) -> Pipeline[Data]:
    chain = (start, *more)
    values: dict[str, Any] = {
        "name": "p",
        "types": ("t",),
        "schema": Data,
        "edges": dict(zip(chain, more, strict=False)),
    }
    return Pipeline(start=start, **(values | changes))


async def run(pipeline: Pipeline[Data], journal: MemoryJournal | None = None, **tried: Any) -> Outcome:
    journal = journal or MemoryJournal()
    return await execute(pipeline, pipeline.context(tried.pop("event", event()), **tried), journal)


async def failure(pipeline: Pipeline[Data], journal: MemoryJournal | None = None) -> Failed:
    outcome = await run(pipeline, journal)
    assert isinstance(outcome, Failed)
    return outcome


async def test_nodes_run_in_order_and_each_result_is_recorded() -> None:
    journal = MemoryJournal()
    assert await run(make(Sum, Double), journal) == Succeeded()
    assert [(record.node, record.status) for record in journal.records] == [
        ("sum", NodeStatus.SUCCEEDED),
        ("double", NodeStatus.SUCCEEDED),
    ]
    assert journal.records[1].output == {"value": 2, "at": "2026-01-01T00:00:00Z", "tags": []}
    assert journal.records[0].duration >= 0
    assert journal.records[0].started_at.tzinfo is UTC


async def test_only_nodes_with_effects_are_recorded_durably_and_before_the_next_one_starts() -> None:
    order: list[str] = []

    class Watched(MemoryJournal):
        async def record(self, result: NodeRecord, *, durable: bool) -> None:
            await super().record(result, durable=durable)
            order.append(f"recorded {result.node}")

    async def send(_: TaskContext[Data]) -> None:
        order.append("send")

    async def after(_: TaskContext[Data]) -> None:
        order.append("after")

    journal = Watched()
    await run(make(Sum, node(send, name="send", effects=True), node(after, name="after")), journal)
    assert journal.durable == {"send"}
    assert order == ["recorded sum", "send", "recorded send", "after", "recorded after"]


async def test_a_resumed_run_calls_only_what_is_not_done() -> None:
    calls: list[str] = []

    async def counted(ctx: TaskContext[Data]) -> None:
        calls.append(ctx.idempotency_key)
        if ctx.attempt == 1:
            raise OSError("away")
        assert ctx.output(Sum).value == 41

    pipeline, run_id = make(Sum, node(counted, name="send", effects=True)), new_id()
    journal = MemoryJournal()
    assert isinstance(await run(pipeline, journal, run_id=run_id), Retry)
    assert journal.records[-1].status is NodeStatus.FAILED
    assert "send" not in journal.durable
    done = journal.done | {
        ("sum", 0): NodeRecord(
            node="sum", status=NodeStatus.SUCCEEDED, output={"value": 41}, started_at=datetime.now(UTC)
        )
    }
    again = MemoryJournal()
    assert await run(pipeline, again, run_id=run_id, attempt=2, errors_by_node={"send": 1}, done=done) == Succeeded()
    assert [record.node for record in again.records] == ["send"]
    assert calls == [f"{run_id}:send"] * 2


async def test_a_stored_output_that_no_longer_fits_fails_visibly() -> None:
    old = NodeRecord(node="sum", status=NodeStatus.SUCCEEDED, output={"total": 3}, started_at=datetime.now(UTC))
    outcome = await run(make(Sum, Double), done={("sum", 0): old})
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.INVALID_OUTPUT
    assert "'sum'" in outcome.error.message
    assert "replay" in outcome.error.message


async def test_data_that_no_longer_fits_the_schema_fails_as_an_invalid_event() -> None:
    outcome = await run(make(Sum), event=event("secret"))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.INVALID_EVENT
    assert outcome.error.message == "Data: 'number' should be a valid integer, unable to parse string as an integer"


# --- outputs


async def test_the_next_node_sees_what_comes_back_from_json_and_no_node_changes_what_another_sees() -> None:
    kept = Total(value=1)

    async def first(_: TaskContext[Data]) -> Total:
        return kept

    First = node(first, name="first", output=Total)  # noqa: N806 - a class

    async def second(ctx: TaskContext[Data]) -> None:
        seen = ctx.output(First)
        assert seen == kept
        assert seen is not kept
        seen.tags.append("mine")
        assert ctx.output(First).tags == []

    assert await run(make(First, node(second, name="second"))) == Succeeded()


async def test_models_with_aliases_and_computed_fields_come_back() -> None:
    class Odd(BaseModel, extra="forbid"):
        inner: int = Field(alias="Outer")

        @computed_field  # type: ignore[prop-decorator]  # pydantic's own way
        @property
        def twice(self) -> int:
            return 2 * self.inner

    async def first(_: TaskContext[Data]) -> Odd:
        return Odd(Outer=3)

    First = node(first, name="first", output=Odd)  # noqa: N806 - a class

    async def second(ctx: TaskContext[Data]) -> int:
        twice: int = ctx.output(First).twice
        return twice

    journal = MemoryJournal()
    assert await run(make(First, node(second, name="second", output=int)), journal) == Succeeded()
    assert journal.done["second", 0].output == 6


class Reading(BaseModel):
    value: float | None


class Loose(BaseModel):
    anything: Any = None


async def test_what_is_null_may_stay_null() -> None:
    async def give(_: TaskContext[Data]) -> Loose:
        return Loose(anything={"a": [None, 1.5]})

    journal = MemoryJournal()
    assert await run(make(node(give, output=Loose)), journal) == Succeeded()
    assert journal.records[0].output == {"anything": {"a": [None, 1.5]}}


SECRET = "hunter2"
LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("declared", "output"),
    [
        (Any, math.nan),
        (float, math.inf),
        (Reading, Reading(value=math.nan)),
        (Any, {"deep": [{"er": -math.inf}]}),
        (Loose, Loose(anything={"a": [(math.nan,)]})),
        (str, "nul \0"),
        (dict[str, int], {"k\0": 1}),
        (Any, {"a": ["b", {"c": "\0"}]}),
        (str, "surrogate \ud800"),
        (Any, {"\udfff": 1}),
        (Any, object()),
        (Any, b"\xff"),
        (Any, LOOP),
        (Any, DEEP),
        (Any, 10**5000),
        (Any, {"k": print}),
        (Total, {"value": SECRET}),
        (Total, None),
        (Total, SECRET),
        (Total, Total.model_construct(value=cast("int", SECRET))),
        (int, SECRET),
        (type(None), SECRET),
        (list[int], [SECRET]),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, type | dict | str) else type(value).__name__,
)
async def test_an_output_that_cannot_be_stored_fails_at_once_and_names_the_node(declared: Any, output: Any) -> None:
    async def give(_: TaskContext[Data]) -> Any:
        return output

    journal = MemoryJournal()
    failed = await failure(make(node(give, output=declared)), journal)
    assert failed.kind is FailureKind.INVALID_OUTPUT
    assert failed.error.node == "tested"
    assert "'tested'" in failed.error.message
    assert SECRET not in f"{failed.error.message}"
    assert (journal.records[0].status, journal.records[0].output) == (NodeStatus.FAILED, None)


class Receipt(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=3)
    cents: int = Field(gt=0)
    paid: Literal["cash", "card"] = "cash"

    @field_validator("text")
    @classmethod
    def _is_no_secret(cls, value: str) -> str:
        if SECRET in value:
            message = f"{value} is secret"
            raise ValueError(message)
        return value


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"cents": 1}, "returned dict, which does not fit Receipt: 'text' is missing"),
        (
            {"text": "x", "cents": "many", "paid": "cheque"},
            (
                "returned dict, which does not fit Receipt: 'text' should have at least 3 characters; "
                "'cents' should be a valid integer, unable to parse string as an integer; "
                "'paid' should be 'cash' or 'card'"
            ),
        ),
        (
            {"text": SECRET, "cents": 0, "who": 1},
            (
                "returned dict, which does not fit Receipt: 'text' is not valid; 'cents' should be greater than 0; "
                "'who' is not one of its fields"
            ),
        ),
        (None, "returned NoneType, which does not come back from JSON as Receipt: it should be an object"),
    ],
)
async def test_what_does_not_fit_is_told_in_a_sentence_that_names_node_and_fields(output: Any, said: str) -> None:
    async def give(_: TaskContext[Data]) -> Any:
        return output

    failed = await failure(make(node(give, output=Receipt)))
    assert failed.error.message == f"node 'tested' {said}"


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\u0001", "\U0001f600", ""])
async def test_text_that_only_looks_bad_is_stored(text: str) -> None:
    async def give(_: TaskContext[Data]) -> str:
        return text

    journal = MemoryJournal()
    assert await run(make(node(give, output=str)), journal) == Succeeded()
    assert journal.records[0].output == text


async def test_asking_for_an_output_that_is_not_there_is_a_permanent_error() -> None:
    async def early(ctx: TaskContext[Data]) -> None:
        assert ctx.output_or_none(Sum) is None
        ctx.output(Sum)

    failed = await failure(make(node(early), Sum))
    assert failed.error.type == "MissingOutputError"
    assert "'sum'" in failed.error.message


# --- routers


class Low(Base):
    pass


class High(Base):
    pass


class AfterHigh(Base):
    pass


class Ending(Base):
    pass


class Size(RouterNode):
    """Chooses by the number."""

    routes = (
        Route(to=High, when=lambda ctx: ctx.data.number > 10),
        Route(to=Low, when=lambda ctx: ctx.data.number > 0),
    )
    fallback = None


ROUTED = {Sum: Size, High: AfterHigh, AfterHigh: Ending, Low: Ending}


@pytest.mark.parametrize(
    ("number", "ran", "skipped"),
    [
        (11, {"sum", "size", "high", "after_high", "ending"}, {"low"}),
        (5, {"sum", "size", "low", "ending"}, {"high", "after_high"}),
        (0, {"sum", "size"}, {"low", "high", "after_high", "ending"}),
    ],
)
async def test_the_first_route_that_holds_is_taken_and_the_others_are_recorded_as_skipped(
    number: int, ran: set[str], skipped: set[str]
) -> None:
    journal, pipeline = MemoryJournal(), make(Sum, edges=ROUTED)
    assert await run(pipeline, journal, event=event(number)) == Succeeded()
    by_status = {
        status: {r.node for r in journal.records if r.status is status}
        for status in (NodeStatus.SUCCEEDED, NodeStatus.SKIPPED)
    }
    assert by_status == {NodeStatus.SUCCEEDED: ran, NodeStatus.SKIPPED: skipped}
    assert len(journal.records) == len(ran) + len(skipped)
    again = MemoryJournal()
    assert await run(pipeline, again, event=event(number), done=journal.done) == Succeeded()
    assert again.records == []


async def test_a_resumed_run_follows_the_stored_choice() -> None:
    pipeline, journal = make(Sum, edges=ROUTED), MemoryJournal()
    await run(pipeline, journal, event=event(11))
    done = {(name, 0): journal.done[name, 0] for name in ("sum", "size")}
    again = MemoryJournal()
    assert await run(pipeline, again, event=event(1), done=done) == Succeeded()
    assert {record.node for record in again.records} == {"high", "after_high", "ending", "low"}


async def test_a_choice_that_an_older_version_stored_and_this_one_does_not_have() -> None:
    old = NodeRecord(node="size", status=NodeStatus.SUCCEEDED, output="medium", started_at=datetime.now(UTC))
    outcome = await run(make(Sum, edges=ROUTED), done={("size", 0): old})
    assert isinstance(outcome, Failed)
    assert "'medium'" in outcome.error.message


async def test_a_router_with_a_run_of_its_own_can_choose_declared_targets_only() -> None:
    class Rogue(Size):
        async def run(self, _: TaskContext[Any]) -> str | None:
            return "ending"

    failed = await failure(make(Sum, edges={Sum: Rogue, High: AfterHigh, AfterHigh: Ending, Low: Ending}))
    assert failed.kind is FailureKind.INVALID_OUTPUT
    assert "'high', 'low', None" in failed.error.message


async def test_a_condition_that_gives_no_bool_is_told() -> None:
    async def later(_: TaskContext[Any]) -> bool:
        return True

    router = type("Size", (RouterNode,), {"routes": (Route(to=Low, when=later),), "fallback": None})  # type: ignore[arg-type]  # the mistake
    failed = await failure(make(router))
    assert failed.kind is FailureKind.INVALID_OUTPUT
    assert "coroutine" in failed.error.message


# --- errors


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), StopIteration(), TimeoutError("theirs"), asyncio.CancelledError("theirs")]
)
@pytest.mark.parametrize("threaded", [False, True])
async def test_whatever_a_node_raises_is_its_own_error_and_is_retried(error: BaseException, *, threaded: bool) -> None:
    def fail(_: TaskContext[Data]) -> None:
        raise error

    async def fail_async(_: TaskContext[Data]) -> None:
        raise error

    journal = MemoryJournal()
    outcome = await run(make(node(fail if threaded else fail_async)), journal)
    assert isinstance(outcome, Retry)
    assert outcome.error.node == "tested"
    recorded = journal.records[0].error
    assert recorded is not None
    assert recorded.type == outcome.error.type


async def test_the_policy_bounds_the_tries_and_a_permanent_error_ends_them() -> None:
    async def fail(_: TaskContext[Data]) -> None:
        raise OSError

    async def never(_: TaskContext[Data]) -> None:
        raise Permanent("no such customer")

    pipeline = make(node(fail), retry=RetryPolicy(max_attempts=2))
    assert isinstance(await run(pipeline), Retry)
    assert isinstance(await run(pipeline, errors_by_node={"tested": 1}, attempt=2), Failed)
    assert (await failure(make(node(never)))).kind is FailureKind.ERROR


async def test_a_node_with_a_policy_of_its_own_is_judged_by_its_own_errors_and_the_rest_by_the_others() -> None:
    async def fail(_: TaskContext[Data]) -> None:
        raise OSError

    flaky = make(node(fail, name="flaky", retry=RetryPolicy(max_attempts=5)), Sum, retry=RetryPolicy(max_attempts=2))
    assert isinstance(await run(flaky, errors_by_node={"flaky": 3, "sum": 1, None: 1}), Retry)
    assert isinstance(await run(flaky, errors_by_node={"flaky": 4}), Failed)
    plain = make(
        node(fail), node(fail, name="flaky", retry=RetryPolicy(max_attempts=5)), retry=RetryPolicy(max_attempts=3)
    )
    assert isinstance(await run(plain, errors_by_node={"flaky": 4, "tested": 1}), Retry)
    assert isinstance(await run(plain, errors_by_node={"flaky": 4, "tested": 1, None: 1}), Failed)


async def test_a_node_may_retry_what_the_pipeline_gives_up_on() -> None:
    async def fail(_: TaskContext[Data]) -> None:
        raise KeyError

    choosy = RetryPolicy(retry_on=(OSError,))
    assert isinstance(await run(make(node(fail), retry=choosy)), Failed)
    assert isinstance(await run(make(node(fail, retry=RetryPolicy(retry_on=(KeyError,))), retry=choosy)), Retry)


async def test_a_node_says_when_to_try_again() -> None:
    async def busy(_: TaskContext[Data]) -> None:
        raise RetryAfter(42)

    outcome = await run(make(node(busy)))
    assert isinstance(outcome, Retry)
    assert (outcome.delay, outcome.error.type, outcome.error.message) == (42, "RetryAfter", "try again in 42 s")


async def test_a_constructor_that_fails_is_an_error_of_the_node() -> None:
    def broken(_: object) -> None:
        raise RuntimeError("no model file")

    outcome = await run(make(type("Needy", (Base,), {"__init__": broken})))
    assert isinstance(outcome, Retry)
    assert outcome.error.message == "no model file"


async def test_what_the_journal_raises_is_not_the_users_error() -> None:
    class Refusing(MemoryJournal):
        async def record(self, result: NodeRecord, *, durable: bool) -> None:
            raise LookupError(result.node, durable)

    with pytest.raises(LookupError):
        await run(make(Sum), Refusing())


# --- time and cancelling


async def forever(_: TaskContext[Data]) -> None:
    await asyncio.Event().wait()


async def test_a_node_that_takes_longer_than_it_may() -> None:
    outcome = await run(make(node(forever, timeout=0.01)))
    assert isinstance(outcome, Retry)
    assert outcome.error.message == "node 'tested' took longer than its 0.01 s"
    final = await failure(make(node(forever, timeout=0.01), retry=RetryPolicy(max_attempts=1)))
    assert final.kind is FailureKind.TIMEOUT


async def test_a_try_that_takes_longer_than_its_pipeline_may() -> None:
    outcome = await run(make(Sum, node(forever, timeout=5.0), timeout=0.02))
    assert isinstance(outcome, Retry)
    assert outcome.error.message == "the pipeline's time was over in node 'tested'"


async def test_a_timeout_of_the_users_own_is_an_ordinary_error() -> None:
    async def own(_: TaskContext[Data]) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    final = await failure(make(node(own, timeout=5.0), retry=RetryPolicy(max_attempts=1)))
    assert (final.kind, final.error.type) == (FailureKind.ERROR, "TimeoutError")


async def test_no_node_starts_after_the_deadline() -> None:
    pipeline = make(Sum, timeout=1e-9)
    journal = MemoryJournal()
    assert isinstance(await run(pipeline, journal), Retry)
    assert journal.records[0].status is NodeStatus.FAILED


async def test_a_node_that_swallows_the_cancel_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "CANCEL_GRACE", 0.01)
    release, ended = asyncio.Event(), asyncio.Event()

    async def stubborn(_: TaskContext[Data]) -> int:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        return 1

    outcome = await run(make(node(stubborn, timeout=0.01, output=int)))
    assert isinstance(outcome, Retry)
    assert "took longer" in outcome.error.message
    release.set()
    await ended.wait()


async def test_a_cancel_from_outside_passes_through_and_the_node_cleans_up() -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def patient(_: TaskContext[Data]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    journal = MemoryJournal()
    task = asyncio.create_task(run(make(node(patient)), journal))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
    assert journal.records == []


async def test_a_cancel_from_outside_passes_through_a_node_that_swallows_it() -> None:
    begun = asyncio.Event()

    async def swallow(_: TaskContext[Data]) -> int:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 1
        return 2

    task = asyncio.create_task(run(make(node(swallow, output=int), Sum)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_context_ends_the_run_before_its_next_node() -> None:
    async def ask(ctx: TaskContext[Data]) -> None:
        ctx.cancel("by alice")
        ctx.cancel("by bob")

    journal = MemoryJournal()
    assert await run(make(node(ask), Sum), journal) == Cancelled(reason="by alice")
    assert [record.node for record in journal.records] == ["tested"]


# --- threads


async def test_a_sync_node_runs_off_the_loop_with_the_context_of_its_run() -> None:
    who = contextvars.ContextVar("who", default="nobody")
    who.set("run 7")

    def work(_: TaskContext[Data]) -> list[Any]:
        return [threading.current_thread() is threading.main_thread(), who.get()]

    journal = MemoryJournal()
    assert await run(make(node(work)), journal) == Succeeded()
    assert journal.records[0].output == [False, "run 7"]


async def test_a_sync_node_that_gives_a_coroutine_is_awaited() -> None:
    def wrapped(ctx: TaskContext[Data]) -> Any:
        return Base().run(ctx)

    journal = MemoryJournal()
    assert await run(make(node(wrapped, output=int)), journal) == Succeeded()
    assert journal.records[0].output == 1


async def test_a_thread_is_told_that_its_time_is_over() -> None:
    told = threading.Event()

    def work(ctx: TaskContext[Data]) -> None:
        while not ctx.cancelled:
            pass
        told.set()

    assert isinstance(await run(make(node(work, timeout=0.01))), Retry)
    assert await asyncio.to_thread(told.wait, 10)


# --- what can be seen


async def test_each_node_has_a_span_and_a_metric_and_the_record_names_the_span() -> None:
    async def look(_: TaskContext[Data]) -> str:
        return format(trace.get_current_span().get_span_context().span_id, "016x")

    async def fail(_: TaskContext[Data]) -> None:
        raise ValueError

    tracing = configure_tracing(TelemetrySettings(), service="test")
    registry, journal = CollectorRegistry(), MemoryJournal()
    pipeline = make(node(look, name="look"), node(fail, name="fail"))
    await execute(pipeline, pipeline.context(event()), journal, metrics=Metrics(registry))
    tracing.shutdown()
    assert journal.records[0].span_id == journal.records[0].output
    for name, outcome in (("look", "succeeded"), ("fail", "failed")):
        labels = {"pipeline": "p", "node": name, "outcome": outcome}
        assert registry.get_sample_value("throughline_node_duration_seconds_count", labels) == 1.0


async def test_a_context_tells_what_is_left_of_its_time() -> None:
    context = make(Sum, timeout=50.0).context(event())
    assert 49.0 < context.remaining <= 50.0
    assert make(Sum, timeout=1e-9).context(event()).remaining == 0.0
