"""Pipelines for tests of real workers; what a node does is told by the event's data."""

import asyncio
import os
import signal
import time
from pathlib import Path

from pydantic import BaseModel

from events import Permanent
from pipelines import EventSchema, Node, Pipeline, RetryPolicy, TaskContext


class Probe(EventSchema):
    """Whom a node tells that it was called, and what it does then."""

    log: str
    sleep: float = 0.0
    fail_attempts: int = 0
    number: int = 0


class Called(BaseModel):
    """That a node was called."""

    node: str
    attempt: int


def tell(ctx: TaskContext[Probe], suffix: str = "") -> Called:
    """Append one line to the file that the event names: the effect that must stand once."""
    with Path(ctx.data.log).open("a") as file:
        file.write(f"{ctx.run_id} {ctx.node}{suffix} {ctx.attempt} {os.getpid()}\n")
    return Called(node=ctx.node, attempt=ctx.attempt)


class First(Node[Called]):
    """Has an effect, so its result is committed at once."""

    effects = True

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell."""
        return tell(ctx)


class Slow(Node[Called]):
    """Waits as long as the event says, and fails as often."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell, wait, perhaps fail."""
        called = tell(ctx)
        await asyncio.sleep(ctx.data.sleep)
        if ctx.attempt <= ctx.data.fail_attempts:
            raise RuntimeError("not yet")
        return called


class Last(Node[Called]):
    """Ends the run."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell."""
        return tell(ctx)


class Refuse(Node[Called]):
    """Fails for good."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell and refuse."""
        tell(ctx)
        raise Permanent("never")


class Compute(Node[Called]):
    """Works in a thread, deaf to a cancel."""

    def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell and wait, as blocking code does."""
        called = tell(ctx)
        time.sleep(ctx.data.sleep)
        return called


class Block(Node[Called]):
    """Blocks the event loop, which no node may do."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell and block."""
        called = tell(ctx)
        time.sleep(ctx.data.sleep)  # noqa: ASYNC251 - the mistake that is tested
        return called


class Die(Node[Called]):
    """Kills its process at the first attempt."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell, and die once."""
        called = tell(ctx)
        if ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return called


steady = Pipeline(
    name="steady",
    types=("test.steady",),
    schema=Probe,
    start=First,
    edges={First: Slow, Slow: Last},
    retry=RetryPolicy(max_attempts=3, base=0.0),
)
refusing = Pipeline(name="refusing", types=("test.refusing",), schema=Probe, start=Refuse)
computing = Pipeline(name="computing", types=("test.computing",), schema=Probe, start=Compute)
blocking = Pipeline(name="blocking", types=("test.blocking",), schema=Probe, start=Block)
deadly = Pipeline(name="deadly", types=("test.deadly",), schema=Probe, start=First, edges={First: Die})
