"""Orders, for tests of what is made of past runs: a node with effects that fails now and then, and secrets."""

from pydantic import BaseModel

from events import Permanent
from pipelines import EventSchema, Node, Pipeline, RetryPolicy, Route, RouterNode, TaskContext

busy: list[BaseException] = []
"""What the bank says at the next calls."""
called: list[str] = []
"""Which of the nodes with effects were called."""


class Customer(EventSchema):
    email: str
    api_token: str


class Order(EventSchema):
    order_id: str
    cents: int
    customer: Customer
    note: str = ""


class Price(BaseModel):
    text: str
    large: bool


class Receipt(BaseModel):
    number: str
    charged: str


class Work(Node[Price]):
    """Pure."""

    async def run(self, ctx: TaskContext[Order]) -> Price:
        if ctx.data.cents < 0:
            raise Permanent("less than nothing")
        return Price(text=f"{ctx.data.cents / 100:.2f}", large=ctx.data.cents > 1000)


class Charge(Node[Receipt]):
    """Talks to the bank."""

    effects = True
    retry = RetryPolicy(max_attempts=3, base=0.0)

    async def run(self, ctx: TaskContext[Order]) -> Receipt:
        called.append(ctx.data.order_id)
        if busy:
            raise busy.pop(0)
        return Receipt(number=f"R-{ctx.data.order_id}", charged=ctx.output(Work).text)


class Thank(Node[str]):
    """Pure."""

    async def run(self, ctx: TaskContext[Order]) -> str:
        return f"thank you for {ctx.output(Charge).number}"


class Ignore(Node[None]):
    """Pure."""

    async def run(self, _: TaskContext[Order]) -> None:
        return None


def is_large(ctx: TaskContext[Order]) -> bool:
    """Say whether it is worth charging."""
    return ctx.output(Work).large


class ByPrice(RouterNode):
    """Charges large orders."""

    routes = (Route(to=Charge, when=is_large),)
    fallback = Ignore


shop_orders = Pipeline(
    name="shop_orders",
    version=1,
    types=("shop.order",),
    schema=Order,
    start=Work,
    edges={Work: ByPrice, Charge: Thank},
    retry=RetryPolicy(max_attempts=3, base=0.0),
)
