"""The pipelines that are measured: three dictionary nodes, the same with effects, and one that waits on others."""

import asyncio
from typing import Final

from pipelines import EventSchema, Node, Pipeline, TaskContext

NODES: Final = ("normalise", "price", "summarise")

Fields = dict[str, str | int]


class Line(EventSchema):
    """What was ordered of one article."""

    article: str
    count: int
    cents: int


class Order(EventSchema):
    """The data of every event that is measured; the references validate it, too."""

    customer: str
    country: str
    wait: float = 0.0
    lines: tuple[Line, ...]


class Normalise(Node[Fields]):
    """Brings the order's head into one form."""

    async def run(self, ctx: TaskContext[Order]) -> Fields:
        """Trim and lower."""
        return {"customer": ctx.data.customer.strip().lower(), "country": ctx.data.country.upper()}


class Price(Node[Fields]):
    """Adds up."""

    async def run(self, ctx: TaskContext[Order]) -> Fields:
        """Sum the lines."""
        lines = ctx.data.lines
        return {"cents": sum(line.count * line.cents for line in lines), "lines": len(lines)}


class Summarise(Node[Fields]):
    """Puts the two together."""

    async def run(self, ctx: TaskContext[Order]) -> Fields:
        """Merge what came before."""
        head, sum_ = ctx.output(Normalise), ctx.output(Price)
        return {**head, **sum_, "total": f"{sum_['cents']} cents"}


class Reserve(Normalise):
    """``Normalise`` with an effect: committed before the next node starts."""

    name = "reserve"
    effects = True


class Charge(Price):
    """``Price`` with an effect."""

    name = "charge"
    effects = True


class Confirm(Node[Fields]):
    """The last of the nodes with effects."""

    effects = True

    async def run(self, ctx: TaskContext[Order]) -> Fields:
        """Merge what came before."""
        head, sum_ = ctx.output(Reserve), ctx.output(Charge)
        return {**head, **sum_}


class Ask(Node[Fields]):
    """Waits for somebody else's answer."""

    async def run(self, ctx: TaskContext[Order]) -> Fields:
        """Wait as long as the event says."""
        await asyncio.sleep(ctx.data.wait)
        return {"waited": str(ctx.data.wait)}


three = Pipeline(
    name="bench_three",
    types=("bench.three",),
    schema=Order,
    start=Normalise,
    edges={Normalise: Price, Price: Summarise},
)
effects = Pipeline(
    name="bench_effects",
    types=("bench.effects",),
    schema=Order,
    start=Reserve,
    edges={Reserve: Charge, Charge: Confirm},
)
waiting = Pipeline(name="bench_waiting", types=("bench.waiting",), schema=Order, start=Ask)
