"""Wrong flows, and what says so: the type checker, or the import with a message that names place and mend."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from mypy import api as mypy
from pydantic import BaseModel

from pipelines import (
    ConcurrentNode,
    EventSchema,
    Limit,
    MapNode,
    Node,
    Pipeline,
    PipelineError,
    Route,
    RouterNode,
    Sleep,
    SubPipeline,
    TaskContext,
    WaitForEvent,
)

ROOT = Path(__file__).parents[3]

TYPED = """
from typing import Any

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
    SubPipeline,
    TaskContext,
    WaitForEvent,
)


class Data(EventSchema):
    number: int


class Price(BaseModel):
    cents: int


class Asks(Node[Price]):
    limits = (Limit(name="vendor", concurrency=2),)

    async def run(self, ctx: TaskContext[Data]) -> Price:
        return Price(cents=ctx.data.number)


class Counts(MapNode[int, str]):
    def items(self, ctx: TaskContext[Data]) -> list[int]:
        return [ctx.data.number]

    def each(self, ctx: TaskContext[Data], item: int) -> str:
        return str(item)


class Together(ConcurrentNode):
    nodes = (Asks, Counts)


class Confirmed(WaitForEvent[Price]):
    type = "confirmed"
    match = "data.cents"
    timeout = 60.0

    def key(self, ctx: TaskContext[Data]) -> str:
        return str(ctx.output(Asks).cents)


class Ends(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        confirmed = ctx.output(Confirmed)
        return len(ctx.output(Counts)) if confirmed is None else confirmed.cents


def is_many(ctx: TaskContext[Data]) -> bool:
    return len(ctx.output(Counts)) > 1


class Decides(RouterNode):
    routes = (Route(to=Confirmed, when=is_many),)
    fallback = None


right = Pipeline(
    name="right",
    types=("t",),
    schema=Data,
    start=Together,
    edges={Together: Decides, Confirmed: Ends},
    limits=(Limit(name="all", concurrency=4),),
    unique="data.number",
)


class Prices(Node[Price]):
    async def run(self, ctx: TaskContext[Data]) -> str:  # [override]
        return str(ctx.data.number)


class Misreads(Node[str]):
    async def run(self, ctx: TaskContext[Data]) -> str:
        return ctx.output(Asks)  # [return-value]


class Reads(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        euros: int = ctx.output(Prices).euros  # [attr-defined]
        return euros


class Maps(MapNode[int, str]):
    def items(self, ctx: TaskContext[Data]) -> list[int]:
        return [ctx.data.number]

    async def each(self, ctx: TaskContext[Data], item: str) -> str:  # [override]
        return item


flow = Pipeline(name="p", types=("t",), schema=Data, start=Reads)


class Uses(SubPipeline[str]):
    pipeline = flow
    result = Reads  # [assignment]

    def data(self, ctx: TaskContext[Data]) -> Data:
        return ctx.data


class Both(ConcurrentNode):
    nodes = (Reads, Reads())  # [assignment]


wrong = Pipeline(name="p", types=("t",), schema=Data, start=Reads())  # [arg-type]
retried = Pipeline(name="p", types=("t",), schema=Data, start=Reads, retries=3)  # [call-arg]
limited = Pipeline(name="p", types=("t",), schema=Data, start=Reads, limits=[Limit(name="l")])  # [arg-type]


def how_many(ctx: TaskContext[Data]) -> int:
    return ctx.data.number


async def asks(ctx: TaskContext[Data]) -> bool:
    return True


numbered = Route(to=Reads, when=how_many)  # [arg-type]
awaited = Route(to=Reads, when=asks)  # [arg-type]
"""


@pytest.mark.timeout(600)
def test_the_type_checker_finds_what_types_can_tell_and_nothing_in_a_right_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked as the project is, strictly and with Pydantic's plugin, from a cache of its own."""
    module = tmp_path / "typed_flow.py"
    module.write_text(TYPED, encoding="utf-8")
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--strict", "--no-error-summary"]
    told, problems, _ = mypy.run([*settings, "--cache-dir", str(tmp_path / "cache"), str(module)])
    assert problems == ""
    found = {
        (int(line), code)
        for line, code in re.findall(r"typed_flow\.py:(\d+): error: .*\[([a-z-]+)\]$", told, re.MULTILINE)
    }
    wanted = {
        (number, code)
        for number, line in enumerate(TYPED.splitlines(), start=1)
        for code in re.findall(r"# \[([a-z-]+)\]$", line)
    }
    assert found == wanted, told
    assert len(wanted) == 11
    assert told.count(": error: ") == len(wanted)


class Data(EventSchema):
    number: int = 0


class Reply(BaseModel):
    ticket: str


class One(Node[int]):
    async def run(self, _: TaskContext[Data]) -> int:
        return 1


class Two(One):
    pass


class Way(RouterNode):
    routes = (Route(to=One, when=lambda _: True),)
    fallback = Two


class Side(ConcurrentNode):
    nodes = (One, Two)


class Pause(Sleep):
    duration = 5.0


class Answer(WaitForEvent[Reply]):
    type = "reply"
    match = "data.ticket"
    timeout = 60.0

    def key(self, _: TaskContext[Data]) -> str:
        return "k"


class Each(MapNode[int, int]):
    def items(self, ctx: TaskContext[Data]) -> list[int]:
        return [ctx.data.number]

    def each(self, _: TaskContext[Data], item: int) -> int:
        return item


def flow(start: Any, **changes: Any) -> Pipeline[Data]:
    values: dict[str, Any] = {"name": "p", "types": ("t",), "schema": Data, "start": start}
    return Pipeline(**(values | changes))


class Inner(SubPipeline[int]):
    pipeline = flow(Way)
    result = One

    def data(self, _: TaskContext[Data]) -> Data:
        return Data()


def derived(base: type, **changes: Any) -> type:
    return type("Wrong", (base,), changes)


MISTAKES: dict[str, tuple[Callable[[], object], str, str]] = {
    "a circle": (
        lambda: flow(One, edges={One: Two, Two: One}),
        "CycleError",
        "pipeline 'p': nodes run in a circle: one -> two -> one; take one of these edges or routes away",
    ),
    "a node that nothing leads to": (
        lambda: flow(One, edges={Two: Pause}),
        "UnreachableNodeError",
        "pipeline 'p': nothing leads to node 'two'; add an edge or route to it, or drop it",
    ),
    "a route to what is no node": (
        lambda: flow(derived(Way, routes=(Route(to=cast("Any", "Two"), when=lambda _: True),))),
        "MissingNodeError",
        "pipeline 'p', router 'wrong': a route leads to 'Two'; use a node class",
    ),
    "a router that doesn't say where to go otherwise": (
        lambda: flow(derived(RouterNode, routes=Way.routes)),
        "InvalidRouteError",
        ("pipeline 'p', router 'wrong': no fallback; name the node for all other cases, or None to end there"),
    ),
    "a router with an edge": (
        lambda: flow(Way, edges={Way: Pause}),
        "RouterEdgeError",
        "pipeline 'p', router 'way': a router has no edge; name the node in its routes or as its fallback",
    ),
    "two nodes of one name": (
        lambda: flow(One, edges={One: derived(Two, name="one")}),
        "DuplicateNodeError",
        "pipeline 'p': One and Wrong are both named 'one'; set name on one of them",
    ),
    "the same branch twice": (
        lambda: flow(derived(ConcurrentNode, nodes=(One, One))),
        "DuplicateNodeError",
        (
            "pipeline 'p', node 'one': One stands in it twice; derive a class with a name of its own "
            "for one of the places"
        ),
    ),
    "a limit that limits nothing": (
        lambda: flow(One, limits=(Limit(name="vendor"),)),
        "InvalidLimitError",
        "pipeline 'p': limit 'vendor': it limits nothing; give concurrency=..., rate=Rate(...) or both",
    ),
    "a node's limit that limits nothing": (
        lambda: flow(derived(One, limits=(Limit(name="vendor"),))),
        "InvalidLimitError",
        "pipeline 'p', node 'wrong': limit 'vendor': it limits nothing; give concurrency=..., rate=Rate(...) or both",
    ),
    "a limit by what the data doesn't have": (
        lambda: flow(derived(One, limits=(Limit(name="vendor", by="data.shop", concurrency=1),))),
        "InvalidPathError",
        ("pipeline 'p', node 'wrong': limit 'vendor': by is 'data.shop', but Data has no 'shop'; it has data.number"),
    ),
    "one run for each of what the data doesn't have": (
        lambda: flow(One, unique="data.order"),
        "InvalidPathError",
        "pipeline 'p': unique is 'data.order', but Data has no 'order'; it has data.number",
    ),
    "a gap in the upcasts": (
        lambda: flow(One, version=4, upcasts={1: dict, 3: dict}),
        "InvalidUpcastError",
        (
            "pipeline 'p': there is an upcast of version 1, but none of 2; give one for each version up to 3 "
            "(lambda data: data where nothing changed)"
        ),
    ),
    "a node that doesn't say what it gives back": (
        lambda: flow(derived(Node, run=One.run)),
        "OutputTypeError",
        "pipeline 'p', node 'wrong': no output type; write class Wrong(Node[Output])",
    ),
    "a map that doesn't say of what": (
        lambda: flow(derived(MapNode, items=Each.items, each=Each.each)),
        "OutputTypeError",
        "pipeline 'p', node 'wrong': no output type; write class Wrong(MapNode[Item, Result])",
    ),
    "a map without its work": (
        lambda: flow(derived(MapNode, items=Each.items)),
        "InvalidNodeError",
        "pipeline 'p', node 'wrong': Wrong has no each; write it",
    ),
    "a map that runs none at once": (
        lambda: flow(derived(Each, limit=0)),
        "InvalidNodeError",
        "pipeline 'p', node 'wrong': limit is 0; give a whole number from 1 up",
    ),
    "a result that the inner pipeline doesn't have": (
        lambda: flow(derived(Inner, pipeline=flow(Two))),
        "InvalidNodeError",
        (f"pipeline 'p', node 'wrong': result is {One!r}; give the node of pipeline 'p' whose output is this node's"),
    ),
    "a branch with an edge": (
        lambda: flow(Side, edges={One: Pause}),
        "DuplicateNodeError",
        (
            "pipeline 'p', node 'one': One stands in it twice; derive a class with a name of its own "
            "for one of the places"
        ),
    ),
    "a branch that waits": (
        lambda: flow(derived(ConcurrentNode, nodes=(One, Pause))),
        "InvalidNodeError",
        "pipeline 'p', node 'wrong': 'pause' waits without a worker, which no branch can; put it before or after",
    ),
    "a wait within a branch": (
        lambda: flow(
            derived(ConcurrentNode, nodes=(Two, derived(Inner, name="sub", pipeline=flow(One, edges={One: Pause}))))
        ),
        "InvalidNodeError",
        "pipeline 'p', node 'wrong': 'sub.pause' waits without a worker, which no branch can; put it before or after",
    ),
    "a router as a branch": (
        lambda: flow(derived(ConcurrentNode, nodes=(Way,))),
        "InvalidNodeError",
        "pipeline 'p', node 'wrong': the router 'way' can't be a branch, since a branch leads nowhere; put it after",
    ),
    "no branches": (
        lambda: flow(derived(ConcurrentNode)),
        "InvalidNodeError",
        "pipeline 'p', node 'wrong': nodes is None; give a tuple of the node classes to run side by side",
    ),
    "a result that a way avoids": (
        lambda: flow(Inner),
        "InvalidNodeError",
        (
            "pipeline 'p', node 'inner': pipeline 'p' may end in 'two' without its result 'one'; name a node that "
            "every way leads through"
        ),
    ),
    "a pipeline within itself": (
        lambda: flow(_within_itself()),
        "CycleError",
        "pipeline 'p', node 'sub': it stands within the pipeline 'p' that it runs; take it out there",
    ),
    "a wait by what the awaited event doesn't have": (
        lambda: flow(derived(Answer, match="data.number")),
        "InvalidPathError",
        "pipeline 'p', node 'wrong': match is 'data.number', but Reply has no 'number'; it has data.ticket",
    ),
    "a wait without an end": (
        lambda: flow(derived(Answer, timeout=None)),
        "InvalidTimeoutError",
        "pipeline 'p', node 'wrong': timeout is None; give seconds above 0 or a timedelta, 366 days at most",
    ),
    "a run of its own in what is not one call": (
        lambda: flow(derived(Side, run=One.run)),
        "InvalidNodeError",
        "pipeline 'p', node 'wrong': it has a run of its own, but what it is for is not one call; use a Node for that",
    ),
    "a base that is no node yet": (
        lambda: flow(ConcurrentNode),
        "NoStartError",
        "pipeline 'p': start is <class 'pipelines.concurrent.ConcurrentNode'>; give the node class that runs first",
    ),
}


def _within_itself() -> Any:
    class Sub(Inner):
        pipeline = flow(One)

    Sub.pipeline = flow(One, edges={One: Sub})
    return Sub


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_import_names_the_place_and_the_mend(mistake: str) -> None:
    make, kind, message = MISTAKES[mistake]
    with pytest.raises(PipelineError) as raised:
        make()
    assert (type(raised.value).__name__, str(raised.value)) == (kind, message)
