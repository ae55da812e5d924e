"""What is done within a node: branches, items and inner nodes."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import Event, JsonValue, NodeStatus, Permanent, Succeeded, new_id
from pipelines import (
    ConcurrentNode,
    EventSchema,
    MapNode,
    MemoryJournal,
    Node,
    NodeRecord,
    Pipeline,
    Stop,
    SubPipeline,
    TaskContext,
    execute,
)
from pipelines.matching import Done, mismatch


class Data(EventSchema):
    number: int = 0


CALLS: list[str] = []
LIMIT: list[int] = [1000]
STOPS: set[str] = set()


class Counting(Node[int]):
    """Refuses from the ``LIMIT``-th call on, and stops the run where it was told to."""

    async def run(self, ctx: TaskContext[Data]) -> int:
        return count(ctx)


def count(ctx: TaskContext[Any]) -> int:
    place = f"{ctx.node}/{ctx.item}"
    if len(CALLS) >= LIMIT[0]:
        raise Permanent("enough")
    CALLS.append(place)
    if place in STOPS:
        raise Stop("told to")
    return 1


class First(Counting):
    pass


class Inside(Counting):
    pass


class Within(Counting):
    pass


inner = Pipeline(name="inner", types=("i",), schema=Data, start=Inside, edges={Inside: Within})


class Enrich(SubPipeline[int]):
    pipeline = inner
    result = Within

    def data(self, ctx: TaskContext[Data]) -> Data:
        return ctx.data


class Left(Counting):
    pass


class Right(Counting):
    pass


class Each(MapNode[int, int]):
    limit = 1

    def items(self, _: TaskContext[Data]) -> list[int]:
        return [10, 20, 30]

    async def each(self, ctx: TaskContext[Data], item: int) -> int:
        return count(ctx) * item


class Both(ConcurrentNode):
    nodes = (Left, Right, Enrich)
    limit = 1


class Last(Counting):
    pass


def chain(*nodes: type[Node[Any]]) -> Pipeline[Data]:
    edges = {node: nodes[place + 1] for place, node in enumerate(nodes[:-1])}
    return Pipeline(name="p", types=("t",), schema=Data, start=nodes[0], edges=edges)


WHOLE = chain(First, Both, Each, Last)
ALL_CALLS = 1 + 2 + 2 + 3 + 1


def run(pipeline: Pipeline[Data], done: Done, *, calls: int = 1000, stop: str = "") -> tuple[Done, list[str]]:
    """Execute a try in which so many calls go well; return what is done then, and what was called."""
    CALLS.clear()
    LIMIT[:] = [calls]
    STOPS.clear()
    STOPS.add(stop)
    event = Event(event_id=new_id(), ce_id="1", type="t", data={}, received_at=datetime.now(UTC))
    journal = MemoryJournal()
    outcome = asyncio.run(execute(pipeline, pipeline.context(event, done=done), journal))
    assert calls < ALL_CALLS or outcome == Succeeded()
    good = (NodeStatus.SUCCEEDED, NodeStatus.STOPPED)
    return {**done, **{key: one for key, one in journal.done.items() if one.status in good}}, list(CALLS)


@pytest.mark.parametrize("calls", range(ALL_CALLS + 1))
def test_what_a_run_has_done_at_any_moment_fits_its_own_graph_and_is_not_called_again(calls: int) -> None:
    done, called = run(WHOLE, {}, calls=calls)
    assert len(called) == calls
    assert mismatch(WHOLE, done) is None
    _, later = run(WHOLE, done)
    assert len(later) == ALL_CALLS - calls
    assert not set(later) & set(called)


@pytest.mark.parametrize("node", ["first/0", "left/0", "both.inside/0", "enrich.inside/0", "each/2", "last/0"])
def test_a_run_that_was_stopped_fits_its_own_graph(node: str) -> None:
    done, _ = run(WHOLE, {}, stop=node)
    assert mismatch(WHOLE, done) is None


class Additional(Counting):
    pass


class More(ConcurrentNode):
    name = "both"
    nodes = (Left, Right, Enrich, Additional)


class Fewer(ConcurrentNode):
    name = "both"
    nodes = (Left, Enrich)


class Renamed(Counting):
    pass


class Other(ConcurrentNode):
    name = "both"
    nodes = (Left, Renamed, Enrich)


class NoMap(Node[list[int]]):
    name = "each"

    async def run(self, _: TaskContext[Data]) -> list[int]:
        return []


class OfTexts(MapNode[int, str]):
    name = "each"

    def items(self, _: TaskContext[Data]) -> list[int]:
        return []

    async def each(self, _: TaskContext[Data], item: int) -> str:
        return str(item)


changed_inner = Pipeline(name="inner", types=("i",), schema=Data, start=Renamed, edges={Renamed: Within})


class ChangedInside(SubPipeline[int]):
    name = "enrich"
    pipeline = changed_inner
    result = Within

    def data(self, ctx: TaskContext[Data]) -> Data:
        return ctx.data


class BothChangedInside(ConcurrentNode):
    name = "both"
    nodes = (Left, Right, ChangedInside)


def record(node: str, output: JsonValue = 1, *, item: int = 0) -> NodeRecord:
    return NodeRecord(node=node, item=item, status=NodeStatus.SUCCEEDED, output=output, started_at=datetime.now(UTC))


def of(*records: NodeRecord) -> Done:
    return {(one.node, one.item): one for one in records}


ENDED = record("both", {"succeeded": ["left", "right", "enrich"], "failed": {}})
GAVE_UP = record("both", {"succeeded": ["left", "right"], "failed": {"enrich": "no"}})
BRANCHES = (record("left"), record("right"), record("enrich"), record("enrich.inside"), record("enrich.within"))


@pytest.mark.parametrize(
    ("nodes", "done"),
    [
        ((First, More, Last), of(record("first"), record("left"))),
        ((First, BothChangedInside, Last), of(record("first"), ENDED, *BRANCHES)),
        ((First, BothChangedInside, Last), of(record("first"), *BRANCHES)),
        ((First, Both, Last), of(record("first"), GAVE_UP, record("left"), record("right"), record("enrich.inside"))),
        ((First, Each), of(record("first"), record("each", [1]), record("each", item=1))),
    ],
    ids=[
        "a new branch",
        "inside what is done",
        "inside a branch that is",
        "in what was given up",
        "a map that is done",
    ],
)
def test_changes_that_a_run_can_bear(nodes: tuple[type[Node[Any]], ...], done: Done) -> None:
    assert mismatch(chain(*nodes), done) is None


@pytest.mark.parametrize(
    ("nodes", "done", "words"),
    [
        (
            (First, More, Last),
            of(record("first"), ENDED, *BRANCHES),
            "'both' is done, but its branch 'additional' is not",
        ),
        ((First, Both, Last), of(record("first"), ENDED, record("left")), "its branch 'right' is not"),
        ((First, Fewer, Last), of(record("first"), record("right")), "'right' is done, and there is no such node"),
        ((First, Other, Last), of(record("first"), record("right")), "'right' is done, and there is no such node"),
        ((First, Both, Last), of(record("left")), "'left' is done, but 'first', which comes first, is not"),
        ((First, Both, Last), of(record("first"), record("left", "x")), "'left' is done, but its output"),
        ((First, Both, Last), of(record("first"), record("enrich.within")), "'enrich.within' is done, but"),
        (
            (First, BothChangedInside, Last),
            of(record("first"), record("enrich.inside")),
            "'enrich.inside' is done, and there is no such node",
        ),
        ((First, NoMap), of(record("first"), record("each", item=2)), "item 2 of node 'each' is done, and it has no"),
        ((First, OfTexts), of(record("first"), record("each", 5, item=2)), "item 2 of node 'each' is done, but its"),
        ((First, Each), of(record("each", item=1)), "item 1 of node 'each' is done, but 'first'"),
    ],
)
def test_changes_that_it_cannot(nodes: tuple[type[Node[Any]], ...], done: Done, words: str) -> None:
    assert words in (mismatch(chain(*nodes), done) or "")


@settings(deadline=None)
@given(st.integers(0, ALL_CALLS), st.sampled_from([Fewer, Other, BothChangedInside, More]))
def test_a_changed_node_is_fitted_only_by_runs_that_it_loses_nothing_of(calls: int, changed: type[Node[Any]]) -> None:
    done, called = run(WHOLE, {}, calls=calls)
    pipeline = chain(First, changed, Each, Last)
    if mismatch(pipeline, done) is None:
        again, later = run(pipeline, done)
        assert not set(later) & set(called)
        assert set(done) <= set(again)
