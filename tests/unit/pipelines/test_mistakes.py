"""Ten wrong flows, and what says so: the type checker, or the import with a message that names place and mend."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mypy import api as mypy
from pydantic import BaseModel

from pipelines import (
    ConcurrentNode,
    EventSchema,
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

from pipelines import ConcurrentNode, EventSchema, MapNode, Node, Pipeline, SubPipeline, TaskContext


class Data(EventSchema):
    number: int


class Price(BaseModel):
    cents: int


class Prices(Node[Price]):
    async def run(self, ctx: TaskContext[Data]) -> str:  # [override]
        return str(ctx.data.number)


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
"""


def test_the_type_checker_finds_the_six_that_types_can_tell(tmp_path: Path) -> None:
    module = tmp_path / "typed_flow.py"
    module.write_text(TYPED, encoding="utf-8")
    told, problems, _ = mypy.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", str(module)])
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
    assert found == wanted
    assert len(wanted) == 6


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


def flow(start: Any, **edges: Any) -> Pipeline[Data]:
    return Pipeline(name="p", types=("t",), schema=Data, start=start, edges=edges.get("edges", {}))


class Inner(SubPipeline[int]):
    pipeline = flow(Way)
    result = One

    def data(self, _: TaskContext[Data]) -> Data:
        return Data()


def derived(base: type, **changes: Any) -> type:
    return type("Wrong", (base,), changes)


MISTAKES: dict[str, tuple[Callable[[], object], str, str]] = {
    "a branch with an edge": (
        lambda: flow(Side, edges={One: Pause}),
        "DuplicateNodeError",
        (
            "pipeline 'p': One stands twice in it, as a branch and elsewhere; derive a class with a name of its own "
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
