"""One run in this process: ``throughline pipelines run``."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from events import ConfigurationError, Event, Failed, JsonValue, Succeeded
from pipelines import ConcurrentNode, EventSchema, Node, Pipeline, RetryPolicy, Route, RouterNode, TaskContext
from pipelines.output import OutputCodec
from throughline.samples import SampleError
from throughline.timeline import run_lines
from throughline.trial import Answers, Tried, read_event, story_of, try_out
from throughline.trial.made_up import made_up
from throughline.trial.reading import UnusableEvent


class Order(EventSchema):
    cents: int


class Paid(BaseModel):
    at: datetime
    number: UUID
    parts: list[int] = Field(min_length=2)
    cents: int = Field(ge=5)
    note: str | None


class Charge(Node[Paid]):
    effects = True

    async def run(self, _: TaskContext[Order]) -> Paid:
        raise AssertionError("it charges")


class Thank(Node[str]):
    retry = RetryPolicy(max_attempts=3, base=3600.0, cap=3600.0)

    async def run(self, ctx: TaskContext[Order]) -> str:
        if ctx.attempt < 3:
            raise RuntimeError(f"try {ctx.attempt}")
        return f"thanks for {ctx.output(Charge).cents}"


class Refuse(Node[None]):
    async def run(self, _: TaskContext[Order]) -> None:
        raise ValueError("never")


class ByPrice(RouterNode):
    routes = (Route(to=Refuse, when=lambda ctx: ctx.data.cents < 0),)
    fallback = Thank


orders = Pipeline(
    name="orders",
    types=("shop.order",),
    schema=Order,
    start=Charge,
    edges={Charge: ByPrice},
    retry=RetryPolicy(max_attempts=1),
)


def order(cents: int) -> Event:
    now = datetime.now(UTC)
    return Event(event_id=UUID(int=1), ce_id="1", type="shop.order", data={"cents": cents}, received_at=now)


async def tried(cents: int, **options: Any) -> Tried:
    return await try_out(orders, order(cents), answers=Answers(orders, **options))


async def test_a_node_with_effects_is_not_called_and_its_output_is_made_up_once() -> None:
    ended = await tried(7)
    assert ended.outcome == Succeeded()
    assert dict(ended.stood_in) == {"charge": "it has effects and was not called; its output is made up"}
    nodes = story_of(ended)["nodes"]
    assert [node["node"] for node in nodes if node["node"] == "charge"] == ["charge"]
    assert [node["output"] for node in nodes if node["node"] == "thank"][-1] == "thanks for 5"


async def test_retries_follow_at_once_and_each_is_told_as_an_attempt() -> None:
    story = story_of(await tried(7))
    assert [attempt["outcome"] for attempt in story["attempts"]] == ["retried", "retried", "succeeded"]
    assert story["attempts"][0]["error"]["message"] == "try 1"
    lines = [line.plain for line in run_lines(story, width=100, now=datetime.now(UTC))]
    assert any(line.startswith("  attempt 3") and "succeeded" in line for line in lines)


async def test_a_failure_is_told_with_its_kind_and_what_was_left_out_is_skipped() -> None:
    ended = await tried(-1)
    assert isinstance(ended.outcome, Failed)
    story = story_of(ended)
    assert (story["status"], story["failure"]["kind"]) == ("failed", "error")
    assert {node["node"]: node["status"] for node in story["nodes"]}["thank"] == "skipped"
    json.dumps(story)


async def test_with_effects_they_are_called() -> None:
    ended = await tried(7, effects=True)
    assert isinstance(ended.outcome, Failed)
    assert "it charges" in ended.outcome.error.message


async def test_an_output_that_is_given_stands_in_for_any_node() -> None:
    ended = await tried(7, given={"thank": "given"})
    assert ended.stood_in["thank"] == "its output was given"
    assert story_of(ended)["nodes"][-1]["output"] == "given"


@pytest.mark.parametrize(
    ("given", "said"),
    [({"thanks": "x"}, "has no node 'thanks'; it has thank"), ({"thank": 7}, "given for 'thank' is none of its")],
)
def test_an_output_for_no_node_or_of_no_fitting_type_is_refused(given: dict[str, JsonValue], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Answers(orders, given=given)


class Endless(BaseModel):
    inner: "Endless"


class Picky(BaseModel):
    code: str = Field(pattern=r"^[A-Z]{3}$")


class PickyEffect(Node[Picky]):
    effects = True

    async def run(self, _: TaskContext[Order]) -> Picky:
        raise AssertionError("it is not called")


async def test_where_nothing_fitting_can_be_made_up_the_run_fails_and_says_what_to_give() -> None:
    picky = Pipeline(name="picky", types=("shop.order",), schema=Order, start=PickyEffect)
    ended = await try_out(picky, order(1), answers=Answers(picky))
    assert isinstance(ended.outcome, Failed)
    assert "--output picky_effect=JSON" in ended.outcome.error.message


@pytest.mark.parametrize(
    "declared", [Paid, str, int | None, list[Paid], tuple[int, str], dict[str, int], bool, datetime, Order, None]
)
def test_what_is_made_up_comes_back_as_the_type(declared: object) -> None:
    codec = OutputCodec(declared)
    codec.restore(made_up(codec))


def test_an_event_is_read_as_it_is_posted(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text('{"type": "shop.order", "subject": "A-7", "time": "2026-01-02T03:04:05Z", "data": {"cents": 1}}')
    event = read_event(path)
    assert (event.type, event.subject, event.source, event.data) == ("shop.order", "A-7", "throughline", {"cents": 1})
    assert event.time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ('{"type": "a.b", "data": 1, "sauce": "x"}', UnusableEvent, "event.json: sauce there is no such field"),
        ('{"type": "a.b", "data": 1, "time": "noon"}', UnusableEvent, "event.json: time"),
        ("{", SampleError, "event.json: not JSON"),
    ],
)
def test_what_the_api_would_refuse_is_refused(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    path = tmp_path / "event.json"
    path.write_text(text)
    with pytest.raises(error, match=said):
        read_event(path)


class Post(Node[None]):
    retry = RetryPolicy(max_attempts=2)

    async def run(self, _: TaskContext[Order]) -> None:
        raise ConnectionError("no post")


class Call(Post):
    pass


class Tell(ConcurrentNode):
    nodes = (Post, Call)


async def test_branches_that_fail_together_each_use_up_their_own_tries() -> None:
    telling = Pipeline(name="telling", types=("shop.order",), schema=Order, start=Tell)
    ended = await try_out(telling, order(5), answers=Answers(telling))
    assert isinstance(ended.outcome, Failed)
    assert len(ended.attempts) == 2
