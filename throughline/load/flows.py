"""A pipeline that does what it is told: it succeeds, takes its time, stumbles once, or fails for good."""

import asyncio
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, Field

from events import Permanent, Transient
from pipelines import EventSchema, Node, Pipeline, RetryPolicy, TaskContext

TYPE: Final = "throughline.rehearsal"


class Act(StrEnum):
    """What a rehearsal is to show."""

    SUCCEEDS = "succeeds"
    STUMBLES = "stumbles"
    FAILS = "fails"


class Rehearsal(EventSchema):
    """What the pipeline is to do, after ``wait`` seconds."""

    act: Act = Act.SUCCEEDS
    wait: float = Field(default=0.0, ge=0.0, le=30.0)


class Rehearsed(BaseModel):
    """That a node has done what it was told."""

    act: Act
    attempt: int


class Prepare(Node[Rehearsed]):
    """Takes no time."""

    async def run(self, ctx: TaskContext[Rehearsal]) -> Rehearsed:
        """Say what will be done."""
        return Rehearsed(act=ctx.data.act, attempt=ctx.attempt)


class Perform(Node[Rehearsed]):
    """Waits, and ends as it was told."""

    async def run(self, ctx: TaskContext[Rehearsal]) -> Rehearsed:
        """Do it.

        Raises:
            Permanent: it was to fail.
            Transient: it was to stumble, and this is the first attempt.

        """
        await asyncio.sleep(ctx.data.wait)
        if ctx.data.act is Act.FAILS:
            raise Permanent("rehearsed failure")
        if ctx.data.act is Act.STUMBLES and ctx.attempt == 1:
            raise Transient("rehearsed stumble")
        return Rehearsed(act=ctx.data.act, attempt=ctx.attempt)


pipeline = Pipeline(
    name="rehearsal",
    version=1,
    types=(TYPE,),
    schema=Rehearsal,
    start=Prepare,
    edges={Prepare: Perform},
    retry=RetryPolicy(max_attempts=3, base=0.5, cap=2.0),
)
