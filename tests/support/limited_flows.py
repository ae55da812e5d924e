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


def tell(ctx: TaskContext[Visit], what: str) -> str:
    """Append a line to the file that the event names."""
    with Path(ctx.data.log).open("a") as file:
        file.write(f"{what} {ctx.data.key} {ctx.run_id} {os.getpid()}\n")
    return ctx.data.key


class Stay(Node[str]):
    """Comes, stays, goes; each is a line of the file, in the order in which it happened."""

    effects = True

    async def run(self, ctx: TaskContext[Visit]) -> str:
        """Tell, stay, tell."""
        tell(ctx, "comes")
        try:
            await asyncio.sleep(ctx.data.stay)
        finally:
            tell(ctx, "goes")
        return ctx.data.key


class Begin(Node[str]):
    """Goes before, as often at once as it may."""

    effects = True

    async def run(self, ctx: TaskContext[Visit]) -> str:
        """Tell."""
        return tell(ctx, "begins")


class StayAlone(Stay):
    """Stays, one of a key at a time."""

    limits = (Limit(name="alone", by="data.key", concurrency=1),)


guarded = Pipeline(
    name="guarded",
    types=("test.guarded",),
    schema=Visit,
    start=Stay,
    limits=(Limit(name="visits", by="data.key", concurrency=AT_ONCE),),
)
staged = Pipeline(
    name="staged",
    types=("test.staged",),
    schema=Visit,
    start=Begin,
    edges={Begin: StayAlone},
)


def lines(ledger: Path) -> list[list[str]]:
    """Read what the nodes have told: what, the key, the run, and the process."""
    return [line.split() for line in ledger.read_text().splitlines()]


def open_visits(told: list[list[str]]) -> dict[str, tuple[str, str]]:
    """Return the runs that have come and not gone, with their key and process; a process that was killed has gone."""
    there: dict[str, tuple[str, str]] = {}
    for what, key, run_id, pid in told:
        if what == "comes":
            there[run_id] = (key, pid)
        elif what == "goes":
            there.pop(run_id, None)
        elif what == "killed":
            there = {run: visit for run, visit in there.items() if visit[1] != pid}
    return there


def greatest_overlap(told: list[list[str]]) -> dict[str, int]:
    """Tell how many runs of each key were there at once, at most."""
    greatest: dict[str, int] = {}
    for end in range(1, len(told) + 1):
        there = [key for key, _ in open_visits(told[:end]).values()]
        greatest |= {key: max(greatest.get(key, 0), there.count(key)) for key in set(there)}
    return greatest
