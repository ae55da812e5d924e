"""The pipelines of ``throughline chaos``: every node tells a ledger outside the platform that it was called."""

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel

from events import Permanent, Transient
from pipelines import (
    ConcurrentNode,
    EventSchema,
    Limit,
    MapNode,
    Node,
    Pipeline,
    RetryPolicy,
    Sleep,
    TaskContext,
    WaitForEvent,
)

REPLY: Final = "chaos.reply"
"""The type of the events that runs wait for."""
ITEMS: Final = 3


class Work(EventSchema):
    """Which file a node tells, and what it does then.

    ``case``: whose reply a run waits for. ``lane``: which runs it may not run beside.
    """

    ledger: str
    case: str = ""
    lane: str = ""
    wait: float = 0.0
    burn: float = 0.0
    fail_attempts: int = 0
    poison: Literal["exit", "segfault", "loop", "oom", "memory"] | None = None


class Answered(EventSchema):
    """The reply in a case."""

    case: str


class Called(BaseModel):
    """That a node was called."""

    node: str
    attempt: int


def tell(ctx: TaskContext[Work]) -> Called:
    """Append one line to the ledger in one write: what is there survives the process, and no line is mixed up.

    An item of a node is told as ``node:item``. The outside world's clock is right, also where this process's is not.
    """
    now = time.clock_gettime(time.CLOCK_REALTIME)
    called = f"{ctx.node}:{ctx.item}" if ctx.item else ctx.node
    line = f"{ctx.run_id} {called} {ctx.attempt} {now:.6f} {os.getpid()}\n"
    file = os.open(Path(ctx.data.ledger), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    return Called(node=ctx.node, attempt=ctx.attempt)


class Reserve(Node[Called]):
    """Has an effect: its result is committed before the next node starts."""

    effects = True

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell."""
        return tell(ctx)


class Ponder(Node[Called]):
    """Waits on the event loop."""

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell and wait."""
        called = tell(ctx)
        await asyncio.sleep(ctx.data.wait)
        return called


class Weigh(Node[Called]):
    """Pure: its result rides with the next write."""

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell."""
        return tell(ctx)


class Crunch(Node[Called]):
    """Computes in a thread."""

    def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell and burn CPU."""
        called = tell(ctx)
        until = time.process_time() + ctx.data.burn
        while time.process_time() < until and not ctx.cancelled:
            sum(range(1000))
        return called


class Stumble(Node[Called]):
    """Fails for a while."""

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell, and fail in the first attempts."""
        called = tell(ctx)
        if ctx.attempt <= ctx.data.fail_attempts:
            raise Transient("not yet")
        return called


class Die(Node[Called]):
    """Kills its process in the way that the event names."""

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell, and be the end of the process."""
        called = tell(ctx)
        match ctx.data.poison:
            case "exit":
                os._exit(1)
            case "segfault":
                ctypes.string_at(0)
            case "loop":
                while True:
                    pass
            case "oom":
                os.kill(os.getpid(), signal.SIGKILL)
            case "memory":
                raise MemoryError
            case None:
                pass
        return called


class Spread(MapNode[int, Called]):
    """Has an effect for each of its items."""

    effects = True
    limit = 2

    def items(self, ctx: TaskContext[Work]) -> Sequence[int]:  # noqa: ARG002 - as many for every event
        """Return as many as ``NODES`` says."""
        return range(ITEMS)

    async def each(self, ctx: TaskContext[Work], item: int) -> Called:
        """Tell and wait, each item longer than the one before."""
        called = tell(ctx)
        await asyncio.sleep(ctx.data.wait * item)
        return called


class Left(Node[Called]):
    """A branch with an effect."""

    effects = True

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell and wait."""
        called = tell(ctx)
        await asyncio.sleep(ctx.data.wait)
        return called


class Right(Node[Called]):
    """A branch that fails at first, beside one that does not."""

    effects = True

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell, and fail in the first attempts."""
        called = tell(ctx)
        if ctx.attempt <= ctx.data.fail_attempts:
            raise Transient("not yet")
        return called


class BothSides(ConcurrentNode):
    """Runs the two side by side."""

    nodes = (Left, Right)


class Nap(Sleep):
    """Sleeps without a worker."""

    def seconds(self, ctx: TaskContext[Work]) -> float:
        """As long as the event says."""
        return ctx.data.wait


class Reply(WaitForEvent[Answered]):
    """Waits for the reply in the event's case."""

    type = REPLY
    match = "data.case"
    timeout = 600.0

    def key(self, ctx: TaskContext[Work]) -> str:
        """The case."""
        return ctx.data.case


class Read(Node[Called]):
    """Fails the run whose reply it never got."""

    effects = True

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell.

        Raises:
            Permanent: the reply was sent, and the wait ended without it.

        """
        reply = ctx.output(Reply)
        if reply is None or reply.case != ctx.data.case:
            raise Permanent("the reply did not come")
        return tell(ctx)


class Confirm(Node[Called]):
    """Has an effect, and ends the run."""

    effects = True

    async def run(self, ctx: TaskContext[Work]) -> Called:
        """Tell."""
        return tell(ctx)


steady = Pipeline(
    name="chaos_steady",
    types=("chaos.steady",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Ponder, Ponder: Weigh, Weigh: Confirm},
)
flaky = Pipeline(
    name="chaos_flaky",
    types=("chaos.flaky",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Stumble, Stumble: Confirm},
    retry=RetryPolicy(max_attempts=6, base=0.2, cap=1.0),
)
computing = Pipeline(
    name="chaos_computing",
    types=("chaos.computing",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Crunch, Crunch: Confirm},
)
poisonous = Pipeline(
    name="chaos_poisonous",
    types=("chaos.poisonous",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Die},
    retry=RetryPolicy(max_attempts=1),
)
grown = Pipeline(
    name="chaos_grown",
    version=2,
    types=("chaos.grown",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Ponder, Ponder: Weigh, Weigh: Confirm},
)
fresh = Pipeline(
    name="chaos_fresh", types=("chaos.fresh",), schema=Work, start=Reserve, edges={Reserve: Weigh, Weigh: Confirm}
)
spread = Pipeline(
    name="chaos_spread",
    types=("chaos.spread",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Spread, Spread: BothSides, BothSides: Confirm},
    retry=RetryPolicy(max_attempts=6, base=0.2, cap=1.0),
)
waiting = Pipeline(
    name="chaos_waiting",
    types=("chaos.waiting",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Nap, Nap: Reply, Reply: Read, Read: Confirm},
)
limited = Pipeline(
    name="chaos_limited",
    types=("chaos.limited",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Ponder, Ponder: Confirm},
    limits=(Limit(name="chaos", by="data.lane", concurrency=2),),
)

NODES = {
    "chaos.steady": ("reserve", "ponder", "weigh", "confirm"),
    "chaos.flaky": ("reserve", "stumble", "confirm"),
    "chaos.computing": ("reserve", "crunch", "confirm"),
    "chaos.poisonous": ("reserve", "die"),
    "chaos.grown": ("reserve", "ponder", "weigh", "confirm"),
    "chaos.fresh": ("reserve", "weigh", "confirm"),
    "chaos.spread": ("reserve", *(f"spread:{item}" for item in range(1, ITEMS + 1)), "left", "right", "confirm"),
    "chaos.limited": ("reserve", "ponder", "confirm"),
    "chaos.waiting": ("reserve", "read", "confirm"),
}
"""The nodes of each event type's run that tell, in order."""
