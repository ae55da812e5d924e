"""A pipeline with every kind of node."""

from datetime import timedelta

from pydantic import BaseModel

from pipelines import (
    ConcurrentNode,
    EventSchema,
    Limit,
    MapNode,
    Node,
    Pipeline,
    Route,
    RouterNode,
    Sleep,
    SubPipeline,
    TaskContext,
    WaitForEvent,
)


class Order(EventSchema):
    """What came in."""

    order_id: str
    cents: int = 100
    items: tuple[str, ...] = ("tea", "cup")


class Customer(EventSchema):
    """What the inner pipeline sees."""

    known: bool = False


class Paid(EventSchema):
    """What is waited for."""

    order_id: str


class Profile(BaseModel):
    """Who it is."""

    name: str


class Normalise(Node[str]):
    """Brings it into one form."""

    async def run(self, ctx: TaskContext[Order]) -> str:
        """Take the id."""
        return ctx.data.order_id


class CheckStock(Node[bool]):
    """Looks at the shelf."""

    async def run(self, _: TaskContext[Order]) -> bool:
        """Say yes."""
        return True


class CheckFraud(Node[bool]):
    """Asks somebody else."""

    effects = True

    async def run(self, _: TaskContext[Order]) -> bool:
        """Say no."""
        return False


class Checks(ConcurrentNode):
    """Asks all who may object."""

    nodes = (CheckStock, CheckFraud)
    limit = 2
    keep_failures = True


class LookUp(Node[bool]):
    """Looks the customer up."""

    async def run(self, ctx: TaskContext[Customer]) -> bool:
        """Say whether we know them."""
        return ctx.data.known


class Fetch(Node[Profile]):
    """Asks somebody else who it is."""

    effects = True

    async def run(self, _: TaskContext[Customer]) -> Profile:
        """Name them."""
        return Profile(name="fetched")


class Merge(Node[Profile]):
    """Puts together what is known."""

    async def run(self, ctx: TaskContext[Customer]) -> Profile:
        """Prefer what was fetched."""
        return ctx.output_or_none(Fetch) or Profile(name="known")


def is_known(ctx: TaskContext[Customer]) -> bool:
    """Say whether nobody need be asked."""
    return ctx.output(LookUp)


class WhoIsIt(RouterNode):
    """Asks only for whom we don't know."""

    routes = (Route(to=Merge, when=is_known),)
    fallback = Fetch


customers = Pipeline(
    name="customers",
    version=2,
    types=("kinds.customer",),
    schema=Customer,
    start=LookUp,
    edges={LookUp: WhoIsIt, Fetch: Merge},
)


class Enrich(SubPipeline[Profile]):
    """Finds out who it is."""

    pipeline = customers
    result = Merge

    def data(self, ctx: TaskContext[Order]) -> Customer:
        """Know those who pay."""
        return Customer(known=ctx.data.cents > 0)


class AskSales(Node[None]):
    """Asks people."""

    effects = True
    limits = (Limit(name="sales", concurrency=1),)

    async def run(self, _: TaskContext[Order]) -> None:
        """Ask."""


class AwaitPayment(WaitForEvent[Paid]):
    """Waits for the money."""

    type = "kinds.paid"
    match = "data.order_id"
    timeout = timedelta(days=3)

    def key(self, ctx: TaskContext[Order]) -> str:
        """Name the order."""
        return ctx.data.order_id


class ReserveItems(MapNode[str, int]):
    """Puts each item aside."""

    limit = 5
    effects = True

    def items(self, ctx: TaskContext[Order]) -> tuple[str, ...]:
        """Take the order's."""
        return ctx.data.items

    async def each(self, _: TaskContext[Order], item: str) -> int:
        """Count its letters."""
        return len(item)


class CoolDown(Sleep):
    """Lets people change their minds."""

    duration = 600.0


class Thank(Node[str]):
    """Ends it."""

    async def run(self, ctx: TaskContext[Order]) -> str:
        """Thank by name."""
        return f"thanks, {ctx.output(Enrich).name}"


def is_large(ctx: TaskContext[Order]) -> bool:
    """Say whether people are asked."""
    return ctx.data.cents > 1000


def is_spam(ctx: TaskContext[Order]) -> bool:
    """Say whether there is nothing to do."""
    return ctx.data.cents < 0


class ByPrice(RouterNode):
    """Chooses how to go on."""

    routes = (Route(to=AskSales, when=is_large), Route(to=AwaitPayment, when=lambda ctx: not is_spam(ctx)))
    fallback = None


every_kind = Pipeline(
    name="every_kind",
    types=("kinds.order",),
    schema=Order,
    start=Normalise,
    edges={
        Normalise: Checks,
        Checks: Enrich,
        Enrich: ByPrice,
        AskSales: Thank,
        AwaitPayment: ReserveItems,
        ReserveItems: CoolDown,
        CoolDown: Thank,
    },
)
