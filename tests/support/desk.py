"""A help desk, for tests of runs that sleep, wait, are limited, and go side by side or through inner pipelines."""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import BaseModel

from pipelines import (
    ConcurrentNode,
    EventSchema,
    Limit,
    MapNode,
    Node,
    Pipeline,
    RetryPolicy,
    Sleep,
    SubPipeline,
    TaskContext,
    WaitForEvent,
)


class Ticket(EventSchema):
    ticket_id: str
    pages: tuple[str, ...] = ()


class Answered(EventSchema):
    ticket_id: str
    text: str = ""


class Open(Node[str]):
    effects = True

    async def run(self, ctx: TaskContext[Ticket]) -> str:
        return f"opened {ctx.data.ticket_id} at {ctx.now():%d %H:%M}"


class Rest(Sleep):
    duration = timedelta(days=1)


class Reply(WaitForEvent[Answered]):
    type = "desk.answered"
    match = "data.ticket_id"
    timeout = timedelta(days=2)

    def key(self, ctx: TaskContext[Ticket]) -> str:
        return ctx.data.ticket_id


class Close(Node[str]):
    async def run(self, ctx: TaskContext[Ticket]) -> str:
        reply = ctx.output(Reply)
        return f"{'closed' if reply is None else reply.text} at {ctx.now():%d %H:%M}"


DESK = Pipeline(
    name="desk",
    types=("desk.opened",),
    schema=Ticket,
    start=Open,
    edges={Open: Rest, Rest: Reply, Reply: Close},
    limits=(Limit(name="desk", concurrency=1),),
)


class Look(Node[str]):
    retry = RetryPolicy(max_attempts=3, base=4.0)

    async def run(self, ctx: TaskContext[Ticket]) -> str:
        return f"looked for {ctx.data.ticket_id}"


class Score(Node[int]):
    limits = (Limit(name="scores", concurrency=2),)

    def run(self, ctx: TaskContext[Ticket]) -> int:
        return len(ctx.data.pages)


class Enrich(ConcurrentNode):
    nodes = (Look, Score)


class Lengths(MapNode[str, int]):
    def items(self, ctx: TaskContext[Ticket]) -> Sequence[str]:
        return ctx.data.pages

    async def each(self, _: TaskContext[Ticket], item: str) -> int:
        return len(item)


INNER = Pipeline(name="inner", types=("desk.inner",), schema=Ticket, start=Look)


class Ask(SubPipeline[str]):
    pipeline = INNER
    result = Look

    def data(self, ctx: TaskContext[Ticket]) -> BaseModel:
        return Ticket(ticket_id=f"{ctx.data.ticket_id}/{sum(ctx.output(Lengths))}")


WIDE = Pipeline(
    name="wide",
    types=("desk.opened",),
    schema=Ticket,
    start=Enrich,
    edges={Enrich: Lengths, Lengths: Ask},
)
