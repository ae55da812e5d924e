"""A pipeline whose limit is measured from outside: its node says when it comes and when it goes."""

import asyncio
import os
from pathlib import Path

from pipelines import EventSchema, Limit, Node, Pipeline, TaskContext

AT_ONCE = 3


class Visit(EventSchema):
    """Whom the node tells of itself, the key that it counts against, and the seconds it stays."""

    log: str
    key: str
    stay: float


class Stay(Node[str]):
    """Comes, stays, goes; each is a line of the file, in the order in which it happened."""

    effects = True

    async def run(self, ctx: TaskContext[Visit]) -> str:
        """Tell, stay, tell."""
        self._tell(ctx, "comes")
        try:
            await asyncio.sleep(ctx.data.stay)
        finally:
            self._tell(ctx, "goes")
        return ctx.data.key

    @staticmethod
    def _tell(ctx: TaskContext[Visit], what: str) -> None:
        with Path(ctx.data.log).open("a") as file:
            file.write(f"{what} {ctx.data.key} {ctx.run_id} {os.getpid()}\n")


guarded = Pipeline(
    name="guarded",
    types=("test.guarded",),
    schema=Visit,
    start=Stay,
    limits=(Limit(name="visits", by="data.key", concurrency=AT_ONCE),),
)
