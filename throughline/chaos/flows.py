"""The pipelines of ``throughline chaos``: every node tells a ledger outside the platform that it was called."""

import asyncio
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from events import Transient
from pipelines import EventSchema, Node, Pipeline, RetryPolicy, TaskContext


class Work(EventSchema):
    """Which file a node tells, and what it does then."""

    ledger: str
    wait: float = 0.0
    burn: float = 0.0
    fail_attempts: int = 0
    poison: Literal["exit", "segfault", "loop", "oom", "memory"] | None = None


class Called(BaseModel):
    """That a node was called."""

    node: str
    attempt: int


def tell(ctx: TaskContext[Work]) -> Called:
    """Append one line to the ledger in one write: what is there survives the process, and no line is mixed up.

    The outside world's clock is right, also where this process's is not.
    """
    now = time.clock_gettime(time.CLOCK_REALTIME)
    line = f"{ctx.run_id} {ctx.node} {ctx.attempt} {now:.6f} {os.getpid()}\n"
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

NODES = {
    "chaos.steady": ("reserve", "ponder", "weigh", "confirm"),
    "chaos.flaky": ("reserve", "stumble", "confirm"),
    "chaos.computing": ("reserve", "crunch", "confirm"),
    "chaos.poisonous": ("reserve", "die"),
    "chaos.grown": ("reserve", "ponder", "weigh", "confirm"),
    "chaos.fresh": ("reserve", "weigh", "confirm"),
}
"""The nodes of each event type's run, in order."""
