"""Pipelines for tests of real workers; what a node does is told by the event's data."""

import asyncio
import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from events import Permanent, RetryAfter
from pipelines import EventSchema, Node, Pipeline, RetryPolicy, Sleep, Slo, Target, TaskContext, WaitForEvent


class Probe(EventSchema):
    """Whom a node tells that it was called, and what it does then."""

    log: str
    sleep: float = 0.0
    fail_attempts: int = 0
    number: int = 0
    how: str = "kill"
    die_attempts: int = 1


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


def _exhaust_memory() -> None:
    raise MemoryError


_DEATHS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "regex": lambda: re.match(r"(a+)+$", "a" * 60 + "b"),
    "block": lambda: time.sleep(600),
    "memory_error": _exhaust_memory,
    "system_exit": lambda: sys.exit(3),
}


class Die(Node[Called]):
    """Kills its process at as many attempts as the event says, in the way that it says."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell, and die."""
        called = tell(ctx)
        if ctx.attempt <= ctx.data.die_attempts:
            _DEATHS[ctx.data.how]()
        return called


class Flaky(Node[Called]):
    """Fails at the first two attempts, and has a policy of its own that bears it."""

    retry = RetryPolicy(max_attempts=3, base=0.0)

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Fail twice."""
        if ctx.attempt <= 2:
            raise RuntimeError(f"try {ctx.attempt}")
        return tell(ctx)


class AfterFlaky(Node[Called]):
    """Fails as often as the event says."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Perhaps fail."""
        if ctx.attempt <= ctx.data.fail_attempts:
            raise RuntimeError(f"try {ctx.attempt}")
        return tell(ctx)


class Busy(Node[Called]):
    """Stands for a server that asks for patience."""

    async def run(self, _: TaskContext[Probe]) -> Called:
        """Ask for more than the policy allows."""
        raise RetryAfter(600)


class Paid(EventSchema):
    """What ``Pay`` waits for."""

    order: int


class Pay(WaitForEvent[Paid]):
    """Waits until the event's number is paid."""

    type = "test.paid"
    match = "data.order"
    timeout = timedelta(hours=1)

    def key(self, ctx: TaskContext[Probe]) -> str:
        """Return the number."""
        return str(ctx.data.number)


class PaySoon(Pay):
    """Waits less long."""

    timeout = timedelta(seconds=1)


class Nap(Sleep):
    """Sleeps as long as the event says."""

    def seconds(self, ctx: TaskContext[Probe]) -> float:
        """Return how long."""
        return ctx.data.sleep


steady = Pipeline(
    name="steady",
    types=("test.steady",),
    schema=Probe,
    start=First,
    edges={First: Slow, Slow: Last},
    retry=RetryPolicy(max_attempts=3, base=0.0),
)
prompt = Pipeline(
    name="prompt",
    types=("test.prompt",),
    schema=Probe,
    start=First,
    slo=Slo(queueing=Target(within=4.0), execution=Target(within=10.0)),
)
parked = Pipeline(name="parked", types=("test.parked",), schema=Probe, start=Slow, queue="slow")
refusing = Pipeline(name="refusing", types=("test.refusing",), schema=Probe, start=Refuse)
computing = Pipeline(name="computing", types=("test.computing",), schema=Probe, start=Compute)
blocking = Pipeline(name="blocking", types=("test.blocking",), schema=Probe, start=Block)
deadly = Pipeline(name="deadly", types=("test.deadly",), schema=Probe, start=First, edges={First: Die})
choosy = Pipeline(
    name="choosy",
    types=("test.choosy",),
    schema=Probe,
    start=Flaky,
    edges={Flaky: AfterFlaky},
    retry=RetryPolicy(max_attempts=2, base=0.0),
)
busy = Pipeline(
    name="busy", types=("test.busy",), schema=Probe, start=Busy, retry=RetryPolicy(base=0.0, max_retry_after=90.0)
)
patient = Pipeline(name="patient", types=("test.patient",), schema=Probe, start=First, edges={First: Pay, Pay: Last})
patient_then_slow = Pipeline(
    name="patient_then_slow",
    types=("test.patient_then_slow",),
    schema=Probe,
    start=First,
    edges={First: Pay, Pay: Slow},
)
impatient = Pipeline(name="impatient", types=("test.impatient",), schema=Probe, start=PaySoon, edges={PaySoon: Last})
shortlived = Pipeline(
    name="shortlived", types=("test.shortlived",), schema=Probe, start=Pay, edges={Pay: Last}, lifetime=1.0
)
napping = Pipeline(name="napping", types=("test.napping",), schema=Probe, start=Nap, edges={Nap: Last})
