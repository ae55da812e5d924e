import time

import pytest
from pydantic import BaseModel

from pipelines import EventSchema, Node, TaskContext
from pipelines.errors import InvalidOutputError, MissingOutputError
from pipelines.retry import NodeTimeoutError
from pipelines.testing import ScriptError, event, run_node


class Order(EventSchema):
    cents: int


class Price(BaseModel):
    text: str


class Work(Node[Price]):
    async def run(self, ctx: TaskContext[Order]) -> Price:
        if not ctx.data.cents:
            raise ZeroDivisionError("nothing")
        return Price(text=str(ctx.data.cents))


class Thank(Node[str]):
    def run(self, ctx: TaskContext[Order]) -> str:
        return f"{ctx.output(Work).text} at {ctx.now():%Y}, {ctx.event.type}"


class Wrong(Node[int]):
    async def run(self, _: TaskContext[Order]) -> int:
        return "text"  # type: ignore[return-value]  # the mistake


class Blocked(Node[None]):
    timeout = 0.05

    def run(self, ctx: TaskContext[Order]) -> None:
        while not ctx.cancelled:
            time.sleep(0.001)


def test_a_node_is_called_with_data_and_earlier_outputs() -> None:
    assert run_node(Work, {"cents": 5}) == Price(text="5")
    assert run_node(Work, Order(cents=6)) == Price(text="6")
    assert run_node(Thank, event("shop.order"), outputs={Work: Price(text="7")}) == "7 at 2026, shop.order"
    assert run_node(Thank, outputs={Work: {"text": "7"}}) == "7 at 2026, test"


def test_its_errors_are_raised_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError, match="nothing"):
        run_node(Work, {"cents": 0})
    with pytest.raises(MissingOutputError):
        run_node(Thank)
    with pytest.raises(InvalidOutputError):
        run_node(Wrong)
    with pytest.raises(ScriptError, match="the output that is given for 'work' is none of its"):
        run_node(Thank, outputs={Work: 7})


def test_a_thread_that_blocks_is_waited_for_in_earnest() -> None:
    with pytest.raises(NodeTimeoutError):
        run_node(Blocked)
