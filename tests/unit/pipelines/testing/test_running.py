"""A whole run, in a plain test: what a user of the kit sees."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from events import AttemptOutcome, Failed, FailureKind, Permanent, RetryAfter, RunStatus, Transient
from pipelines import EventSchema, Node, Pipeline, RetryPolicy, Route, RouterNode, TaskContext
from pipelines.testing import FakeClock, ScriptError, event, failure, in_turn, run


class Order(EventSchema):
    cents: int


class Price(BaseModel):
    text: str
    large: bool


class Receipt(BaseModel):
    number: str
    at: datetime


class Work(Node[Price]):
    async def run(self, ctx: TaskContext[Order]) -> Price:
        if ctx.data.cents < 0:
            raise Permanent("less than nothing")
        await asyncio.sleep(3600.0)
        return Price(text=f"{ctx.data.cents / 100:.2f}", large=ctx.data.cents > 1000)


class Charge(Node[Receipt]):
    effects = True
    timeout = 30.0
    retry = RetryPolicy(max_attempts=4, base=2.0)

    def run(self, ctx: TaskContext[Order]) -> Receipt:
        return Receipt(number=ctx.idempotency_key.rpartition(":")[2], at=ctx.now())


class Ignore(Node[None]):
    async def run(self, _: TaskContext[Order]) -> None:
        return None


class ByPrice(RouterNode):
    routes = (Route(to=Charge, when=lambda ctx: ctx.output(Work).large),)
    fallback = Ignore


ORDERS = Pipeline(
    name="orders",
    types=("shop.order",),
    schema=Order,
    start=Work,
    edges={Work: ByPrice},
    timeout=7200.0,
    retry=RetryPolicy(max_attempts=3, base=10.0),
)
LARGE = event("shop.order", {"cents": 2000})
SMALL = event("shop.order", Order(cents=20))


def test_a_run_is_told_by_its_path_outputs_and_time() -> None:
    result = run(ORDERS, LARGE, clock=FakeClock(datetime(2026, 5, 1, tzinfo=UTC)))
    result.assert_succeeded()
    result.assert_path(Work, ByPrice, "charge")
    assert result.path == ("work", "by_price", "charge")
    assert result.skipped == ("ignore",)
    assert result.output(Work) == Price(text="20.00", large=True)
    assert result.output(Charge).at == datetime(2026, 5, 1, 1, tzinfo=UTC)
    assert result.outputs["by_price"] == "charge"
    assert result.duration == 3600.0
    assert result.errors == ()
    assert [attempt.outcome for attempt in result.attempts] == [AttemptOutcome.SUCCEEDED]


def test_scripted_nodes_are_not_called_and_their_outputs_are_typed() -> None:
    result = run(ORDERS, LARGE, script={Charge: {"number": "R-1", "at": "2026-01-02T03:04:05Z"}})
    assert result.output(Charge) == Receipt(number="R-1", at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    result = run(ORDERS, SMALL, script={Work: Price(text="", large=True), "charge": _receipt})
    assert result.output(Charge).number == "of shop.order"


def _receipt(ctx: TaskContext[Any]) -> Receipt:
    return Receipt(number=f"of {ctx.event.type}", at=ctx.now())


def test_retries_pass_on_the_fake_clock_and_done_nodes_are_not_called_again() -> None:
    busy = in_turn(
        ConnectionError("busy"), RetryAfter(90_000), Transient(), {"number": "R", "at": "2026-01-01T00:00:00Z"}
    )
    result = run(ORDERS, LARGE, script={Charge: busy})
    result.assert_succeeded()
    assert [attempt.outcome for attempt in result.attempts] == ["retried", "retried", "retried", "succeeded"]
    # the longest waits that the policy allows, RetryAfter bounded by it
    assert result.duration == 3600.0 + 2.0 + 3600.0 + 8.0
    assert [attempt.began for attempt in result.attempts] == [0.0, 3602.0, 7202.0, 7210.0]
    assert [(error.type, error.node) for error in result.errors] == [
        ("ConnectionError", "charge"),
        ("RetryAfter", "charge"),
        ("Transient", "charge"),
    ]


def test_a_node_that_takes_too_long_times_out_at_once() -> None:
    async def slowly(_: TaskContext[Order]) -> None:
        await asyncio.sleep(10_000.0)

    result = run(ORDERS, SMALL, script={Ignore: slowly})
    result.assert_failed(kind="timeout", node=Ignore, error="NodeTimeoutError")
    assert len(result.attempts) == 3
    assert result.status is RunStatus.FAILED
    assert isinstance(result.outcome, Failed)
    assert result.outcome.kind is FailureKind.TIMEOUT


def test_a_lifetime_ends_a_run_whose_next_try_would_come_too_late() -> None:
    short = Pipeline(
        name="short", types=("shop.order",), schema=Order, start=Charge, lifetime=60.0, retry=RetryPolicy(base=1.0)
    )
    result = run(short, LARGE, script={Charge: RetryAfter(50)})
    result.assert_failed(kind=FailureKind.TIMEOUT, error=RetryAfter, match="50 s")
    assert result.duration == 50.0
    assert len(result.attempts) == 2


def test_what_production_refuses_is_refused() -> None:
    run(ORDERS, event("shop.order", {"cents": "many"})).assert_failed(kind="invalid_event", error="ValidationError")
    run(ORDERS, LARGE, script={Charge: lambda _: {"number": 1}}).assert_failed(kind="invalid_output", node=Charge)
    run(ORDERS, event("shop.order", {"cents": -1})).assert_failed(kind="error", node=Work, error=Permanent)


def test_it_runs_in_a_test_that_has_a_loop_of_its_own() -> None:
    async def test() -> RunStatus:
        return run(ORDERS, LARGE).status

    assert asyncio.run(test()) is RunStatus.SUCCEEDED


def test_the_same_run_is_the_same_every_time() -> None:
    script = {Charge: in_turn(ConnectionError(), ConnectionError(), {"number": "1", "at": "2026-01-01T00:00:00Z"})}
    assert len({run(ORDERS, LARGE, script=script).duration for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"chrage": 1}, "pipeline 'orders' has no node chrage; did you mean 'charge'?"),
        ({Node: 1}, "has no node Node; it has work, by_price, "),
        ({Ignore: None}, "'ignore' is scripted, but the run never came to it"),
        ({Charge: {"number": 1}}, "the output that is given for 'charge' is none of its"),
        ({Charge: in_turn(ConnectionError("a"))}, "'charge' is called more often than in_turn(…) has answers for: 1"),
        ({Work: in_turn({"text": "", "large": False}, Permanent())}, "'work' has 2 answers in turn, but was called 1"),
    ],
)
def test_a_script_that_does_not_fit_is_an_error(given: dict[Any, Any], said: str) -> None:
    with pytest.raises(ScriptError) as raised:
        run(ORDERS, LARGE, script=given)
    assert said in str(raised.value)


def test_an_event_that_the_pipeline_does_not_take_is_an_error() -> None:
    with pytest.raises(ScriptError, match=r"pipeline 'orders' takes shop\.order, not 'shop\.odrer'"):
        run(ORDERS, event("shop.odrer", {"cents": 1}))


def test_events_are_json() -> None:
    assert event("t", {"a": (1, 2)}).data == {"a": [1, 2]}
    with pytest.raises(ValueError, match="this is no JSON"):
        event("t", {"a": object()})
    with pytest.raises(ValueError, match="this is no JSON"):
        event("t", float("nan"))


def test_a_path_that_differs_is_shown_with_the_story() -> None:
    result = run(ORDERS, SMALL)
    with pytest.raises(AssertionError) as raised:
        result.assert_path(Work, ByPrice, Charge)
    assert str(raised.value).splitlines() == [
        "the run went another way (- expected, + ran)",
        "    work",
        "    by_price",
        "  - charge",
        "  + ignore",
        "the run's story:",
        "  try 1 at 0 s: succeeded",
        "  ran: work -> by_price -> ignore",
    ]


def test_a_failure_is_shown_with_its_traceback() -> None:
    result = run(ORDERS, event("shop.order", {"cents": -1}))
    with pytest.raises(AssertionError) as raised:
        result.assert_succeeded()
    said = str(raised.value)
    assert said.startswith("the run failed\n")
    assert "try 1 at 0 s: failed, Permanent in work: less than nothing" in said
    assert 'raise Permanent("less than nothing")' in said
    with pytest.raises(AssertionError, match="kind: timeout was expected, it is error"):
        result.assert_failed(kind="timeout")
    with pytest.raises(AssertionError, match="node: charge was expected, it is work"):
        result.assert_failed(node=Charge)
    with pytest.raises(AssertionError, match="'charge' gave nothing back"):
        result.output(Charge)
    with pytest.raises(AssertionError, match="the run succeeded, and was to fail"):
        run(ORDERS, LARGE).assert_failed()


def test_the_clock_goes_forward_alone() -> None:
    clock = FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001 - without a zone it is UTC
    clock.advance(timedelta(days=1))
    clock.advance(60.0)
    assert clock.now == datetime(2026, 1, 2, 0, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="no span of time"):
        clock.advance(-1.0)


@pytest.mark.parametrize(
    ("kind", "message", "base"),
    [
        ("ConnectionError", "busy", ConnectionError),
        ("KeyError", "'id'", KeyError),
        ("UnicodeDecodeError", "bad byte", UnicodeDecodeError),
        ("NodeTimeoutError", "took longer", Transient),
        ("HTTPStatusError", "503", Permanent),
        ("Client.Busy", "503", Permanent),
        ("ExceptionGroup", "several", Permanent),
    ],
)
def test_a_failure_is_recorded_as_it_was_stored(kind: str, message: str, base: type[BaseException]) -> None:
    made = failure(kind, message)
    assert (type(made).__qualname__, str(made)) == (kind, message)
    assert isinstance(made, base)
    assert isinstance(failure("Odd", retried=True), Transient)
    assert str(failure("RetryAfter", "try again in 30 s")) == "try again in 30 s"


def test_data_of_an_older_version_is_upcast() -> None:
    newer = Pipeline(
        name="orders",
        version=2,
        types=("shop.order",),
        schema=Order,
        start=Ignore,
        upcasts={1: lambda data: {"cents": data["euros"] * 100}},  # type: ignore[index,call-overload,operator]
    )
    old = event("shop.order", {"euros": 3})
    run(newer, old, accepted_version=1).assert_succeeded()
    run(newer, old).assert_failed(kind="invalid_event")
