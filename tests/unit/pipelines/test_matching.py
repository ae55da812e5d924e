"""A run goes on in a changed graph if, and only if, the graph would first take up all that is done, and then call."""

import asyncio
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from events import Event, JsonValue, NodeStatus, Permanent, new_id
from pipelines import EventSchema, MemoryJournal, Node, NodeRecord, Pipeline, Route, RouterNode, TaskContext, execute
from pipelines.matching import Done, mismatch

untimed = settings(deadline=None)
"""A busy machine is no failure."""


class Data(EventSchema):
    number: int = 0


class First(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        return ctx.data.number


class Second(First):
    pass


class Third(First):
    pass


class Choose(RouterNode):
    routes = (Route(to=Second, when=lambda _: True),)
    fallback = Third


def make(*chain: type[Node[Any]], version: int = 1) -> Pipeline[Data]:
    edges = {node: after for node, after in pairwise(chain) if not issubclass(node, RouterNode)}
    return Pipeline(name="p", version=version, types=("t",), schema=Data, start=chain[0], edges=edges)


def record(node: str, output: JsonValue = 1, *, item: int = 0, status: NodeStatus = NodeStatus.SUCCEEDED) -> NodeRecord:
    return NodeRecord(node=node, item=item, status=status, output=output, started_at=datetime.now(UTC))


def of(*records: NodeRecord) -> Done:
    return {(one.node, one.item): one for one in records}


# --- single cases


@pytest.mark.parametrize(
    "done",
    [
        of(),
        of(record("first")),
        of(record("first"), record("second")),
        of(record("first"), record("second", status=NodeStatus.FAILED)),
        of(record("first"), record("gone", status=NodeStatus.SKIPPED)),
        of(record("first", {"reason": "enough"}, status=NodeStatus.STOPPED)),
    ],
    ids=["nothing", "one", "all", "one failed", "one skipped", "stopped"],
)
def test_what_the_graph_would_have_begun_with_fits(done: Done) -> None:
    assert mismatch(make(First, Second), done) is None


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (of(record("gone")), "node 'gone' is done, and there is no such node any more"),
        (of(record("first"), record("gone")), "'gone'"),
        (of(record("second")), "node 'second' is done, but 'first', which comes first, is not"),
        (of(record("first", "one")), "node 'first' is done, but its output does not come back as int"),
        (of(record("first"), record("second", item=1)), "item 1 of node 'second' is done"),
        (
            of(record("first", {"reason": "enough"}, status=NodeStatus.STOPPED), record("second")),
            "node 'second' is done, but by what was done before it the run would not come to it",
        ),
    ],
    ids=["no such node", "one of two", "not before", "another output", "items", "after a stop"],
)
def test_what_it_would_not_have_begun_with_is_named(done: Done, words: str) -> None:
    assert words in (mismatch(make(First, Second), done) or "")


def test_a_router_goes_the_way_it_chose() -> None:
    pipeline = make(Choose, Second)
    assert mismatch(pipeline, of(record("choose", "second"), record("second"))) is None
    assert mismatch(pipeline, of(record("choose", "third"), record("third"))) is None
    elsewhere = mismatch(pipeline, of(record("choose", "third"), record("second")))
    assert elsewhere == "node 'second' is done, but 'third', which comes first, is not"
    assert "chose 'fourth'" in (mismatch(pipeline, of(record("choose", "fourth"))) or "")
    assert "chose None" in (mismatch(pipeline, of(record("choose", None))) or "")


class Picky(BaseModel):
    value: int = 0

    @field_validator("value")
    @classmethod
    def _break(cls, value: int) -> int:
        raise KeyError(value)


class Choosy(Node[Picky]):
    name = "first"

    async def run(self, _: TaskContext[Data]) -> Picky:
        return Picky()


def test_an_output_that_a_validator_breaks_on_fits_nothing() -> None:
    said = mismatch(make(Choosy, Second), of(record("first", {"value": 1})))
    assert said == "node 'first' is done, but its output can't be read any more (KeyError)"


# --- random graphs


@dataclass(frozen=True)
class Calls:
    """What the nodes of random graphs do: they are noted, and refuse from the ``limit``-th call on."""

    limit: int
    made: list[str] = field(default_factory=list)
    known_at_first: list[set[str]] = field(default_factory=list)

    def note(self, name: str, ctx: TaskContext[Data]) -> None:
        if not self.made:
            self.known_at_first.append(set(ctx._progress.outputs))
        if len(self.made) >= self.limit:
            raise Permanent("enough")
        self.made.append(name)


NOW: list[Calls] = []


@dataclass(frozen=True)
class Spot:
    """A node of a random graph: where it leads (positions), and as a router which of them it chooses."""

    targets: tuple[int | None, ...]
    choice: int
    routes: bool


@st.composite
def spots(draw: st.DrawFn, size: int) -> tuple[Spot, ...]:
    drawn = []
    for place in range(size):
        later = st.sampled_from([*range(place + 1, size), None])
        routes = draw(st.booleans()) and place + 1 < size
        if routes:
            first = draw(st.lists(st.sampled_from(range(place + 1, size)), min_size=1, max_size=3, unique=True))
            targets = (*first, draw(later))
            drawn.append(Spot(targets=targets, choice=draw(st.integers(0, len(targets) - 1)), routes=True))
        else:
            following = place + 1 if place + 1 < size and draw(st.integers(0, 3)) else draw(later)
            drawn.append(Spot(targets=(following,), choice=0, routes=False))
    return tuple(drawn)


NAMES = ("a", "b", "c", "d", "e", "f")
sizes = st.integers(2, len(NAMES))
graphs = sizes.flatmap(lambda size: st.tuples(st.permutations(NAMES).map(lambda names: names[:size]), spots(size)))


def build(names: Sequence[str], graph: Sequence[Spot]) -> Pipeline[Data]:
    """Make a pipeline of a random graph; what nothing leads to is left out."""
    classes: dict[int, type[Node[Any]]] = {}
    edges: dict[type[Node[Any]], type[Node[Any]]] = {}
    for place in reversed(range(len(graph))):
        spot, name = graph[place], names[place]
        if spot.routes:
            classes[place] = _router(name, spot, classes)
        else:
            classes[place] = _plain(name)
    waiting, seen = [0], set[int]()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        waiting += [target for target in graph[place].targets if target is not None]
        target = graph[place].targets[0]
        if not graph[place].routes and target is not None:
            edges[classes[place]] = classes[target]
    return Pipeline(name="p", types=("t",), schema=Data, start=classes[0], edges=edges)


def _plain(name: str) -> type[Node[Any]]:
    async def run(self: object, ctx: TaskContext[Data]) -> int:  # noqa: ARG001 - a method
        NOW[-1].note(name, ctx)
        return 1

    return types.new_class(f"Node{name}", (Node[int],), exec_body=lambda body: body.update(name=name, run=run))


def _router(name: str, spot: Spot, classes: dict[int, type[Node[Any]]]) -> type[Node[Any]]:
    *to, last = spot.targets

    async def run(self: RouterNode, ctx: TaskContext[Data]) -> str | None:
        NOW[-1].note(name, ctx)
        return await RouterNode.run(self, ctx)

    body = {
        "name": name,
        "routes": tuple(
            Route(to=classes[target], when=lambda _, hit=place == spot.choice: hit)
            for place, target in enumerate(to)
            if target is not None
        ),
        "fallback": None if last is None else classes[last],
        "run": run,
    }
    return types.new_class(f"Node{name}", (RouterNode,), exec_body=lambda space: space.update(body))


def run(pipeline: Pipeline[Data], done: Done, *, calls: int) -> tuple[Done, Calls]:
    """Execute a try in which so many nodes go well; return what is done then, and what was called."""
    NOW.append(Calls(limit=calls))
    event = Event(event_id=new_id(), ce_id="1", type="t", data={}, received_at=datetime.now(UTC))
    journal = MemoryJournal()
    context = pipeline.context(event, done=done)
    asyncio.run(execute(pipeline, context, journal))
    made = NOW.pop()
    if not made.known_at_first:
        made.known_at_first.append(set(context._progress.outputs))
    return {key: one for key, one in journal.done.items() if one.status is NodeStatus.SUCCEEDED}, made


def chain(size: int) -> tuple[Spot, ...]:
    """Make a graph without routers."""
    return tuple(
        Spot(targets=(place + 1 if place + 1 < size else None,), choice=0, routes=False) for place in range(size)
    )


@untimed
@given(graphs, st.integers(0, len(NAMES)))
def test_what_a_run_has_done_at_any_moment_fits_its_own_graph(
    graph: tuple[Sequence[str], tuple[Spot, ...]], calls: int
) -> None:
    pipeline = build(*graph)
    done, _ = run(pipeline, {}, calls=calls)
    assert mismatch(pipeline, done) is None


@untimed
@given(graphs, graphs, st.integers(0, len(NAMES)))
def test_a_run_fits_a_graph_if_that_takes_up_all_that_is_done_before_it_calls_a_node(
    before: tuple[Sequence[str], tuple[Spot, ...]], after: tuple[Sequence[str], tuple[Spot, ...]], calls: int
) -> None:
    done, _ = run(build(*before), {}, calls=calls)
    changed = build(*after)
    _, made = run(changed, done, calls=len(NAMES))
    takes_up = made.known_at_first[0] == {name for name, _ in done}
    assert (mismatch(changed, done) is None) == takes_up
    if takes_up:
        assert not set(made.made) & {name for name, _ in done}


@untimed
@given(graphs, st.integers(1, len(NAMES)), st.data())
def test_a_done_node_that_was_renamed_never_fits(
    graph: tuple[Sequence[str], tuple[Spot, ...]], calls: int, data: st.DataObject
) -> None:
    names, drawn = graph
    done, _ = run(build(names, drawn), {}, calls=calls)
    gone = data.draw(st.sampled_from(sorted(name for name, _ in done)))
    renamed = build([f"{name}_now" if name == gone else name for name in names], drawn)
    assert mismatch(renamed, done) is not None


@untimed
@given(st.permutations(NAMES), st.permutations(NAMES), st.integers(1, len(NAMES)))
def test_of_a_chain_in_another_order_only_one_that_begins_with_all_that_is_done_fits(
    before: Sequence[str], after: Sequence[str], calls: int
) -> None:
    done, _ = run(build(before, chain(len(NAMES))), {}, calls=calls)
    fits = set(after[:calls]) == set(before[:calls])
    assert (mismatch(build(after, chain(len(NAMES))), done) is None) == fits


@untimed
@given(st.permutations(NAMES), st.integers(1, len(NAMES)), st.data())
def test_a_chain_from_which_a_done_node_was_taken_never_fits(
    names: Sequence[str], calls: int, data: st.DataObject
) -> None:
    done, _ = run(build(names, chain(len(NAMES))), {}, calls=calls)
    gone = data.draw(st.sampled_from(names[:calls]))
    left = [name for name in names if name != gone]
    assert "no such node" in (mismatch(build(left, chain(len(left))), done) or "")
