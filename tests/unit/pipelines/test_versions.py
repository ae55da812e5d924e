from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from events import Event, Failed, FailureKind, JsonValue, NodeStatus, new_id
from pipelines import (
    EventSchema,
    MemoryJournal,
    Node,
    NodeRecord,
    Pipeline,
    PipelineRegistry,
    TaskContext,
    errors,
    execute,
)
from pipelines.upcasts import UpcastError
from pipelines.versions import Course, explain, resolve


class Data(EventSchema):
    grams: int = 0


class First(Node[int]):
    async def run(self, ctx: TaskContext[Data]) -> int:
        return ctx.data.grams


class Second(First):
    pass


class Other(First):
    pass


def make(version: int = 1, start: type[Node[Any]] = First, **changes: Any) -> Pipeline[Any]:
    values: dict[str, Any] = {"name": "p", "types": ("t.a",), "schema": Data, "edges": {start: Second}}
    return Pipeline(version=version, start=start, **(values | changes))


ONE, TWO, THREE = make(1), make(2), make(3, start=Other)
RESTARTING = make(3, start=Other, on_change="restart")
BEGUN = {
    ("first", 0): NodeRecord(node="first", status=NodeStatus.SUCCEEDED, output=1, started_at=datetime.now(UTC)),
}


# --- which version a run goes on with


@pytest.mark.parametrize(
    ("versions", "of", "course", "taken"),
    [
        ([ONE], 1, Course.KEPT, ONE),
        ([ONE, TWO, THREE], 1, Course.KEPT, ONE),
        ([ONE, TWO, THREE], 2, Course.KEPT, TWO),
        ([TWO], 1, Course.RESUMED, TWO),
        ([THREE], 1, Course.INCOMPATIBLE, THREE),
        ([TWO, THREE], 1, Course.INCOMPATIBLE, THREE),
        ([RESTARTING], 1, Course.RESTARTED, RESTARTING),
        ([ONE, RESTARTING], 2, Course.RESTARTED, RESTARTING),
        ([THREE], 3, Course.INCOMPATIBLE, THREE),
        ([RESTARTING], 3, Course.RESTARTED, RESTARTING),
        ([ONE], 2, Course.DEFERRED, ONE),
        ([ONE, TWO], 3, Course.DEFERRED, TWO),
    ],
)
def test_a_run_that_has_begun(versions: Sequence[Pipeline[Any]], of: int, course: Course, taken: Pipeline[Any]) -> None:
    for order in (versions, versions[::-1]):
        found = resolve(order, version=of, done=BEGUN)
        assert (found.course, found.pipeline) == (course, taken)
        assert ("'first'" in found.reason) == (course in (Course.INCOMPATIBLE, Course.RESTARTED))


@pytest.mark.parametrize(
    ("versions", "of", "course", "taken"),
    [
        ([ONE, THREE], 1, Course.KEPT, ONE),
        ([THREE], 1, Course.RESUMED, THREE),
        ([RESTARTING], 1, Course.RESUMED, RESTARTING),
        ([ONE], 2, Course.DEFERRED, ONE),
    ],
)
def test_a_run_that_has_nothing_done(
    versions: Sequence[Pipeline[Any]], of: int, course: Course, taken: Pipeline[Any]
) -> None:
    found = resolve(versions, version=of, done={})
    assert (found.course, found.pipeline) == (course, taken)


def test_what_is_said_of_a_run_that_cannot_go_on() -> None:
    versions = [TWO, THREE]
    said = explain(resolve(versions, version=1, done=BEGUN), versions, version=1)
    for word in ("version 1 of pipeline 'p'", "(here: 2, 3)", "version 3: node 'first'", "replay the run", "on_change"):
        assert word in said
    said = explain(resolve([THREE], version=3, done=BEGUN), [THREE], version=3)
    assert "here version 3 has another graph: node 'first'" in said
    assert "give a changed graph a new version" in said


# --- the registry


def test_the_registry_holds_several_versions_and_routes_to_the_newest() -> None:
    other = make(name="q", types=("t.a",))
    registry = PipelineRegistry([TWO, other, ONE])
    assert registry.pipelines == (TWO, other)
    assert registry.every == (ONE, TWO, other)
    assert registry.route("t.a") == (TWO, other)
    assert registry.versions("p") == (ONE, TWO)
    assert registry.versions("unknown") == ()
    assert (registry.get("p"), registry.get("p", 1), registry.get("p", 3), registry.get("x", 1)) == (
        TWO,
        ONE,
        None,
        None,
    )


def test_new_events_are_checked_against_the_newest_alone() -> None:
    class Strict(EventSchema):
        kilograms: float

    registry = PipelineRegistry([make(1, types=("t.a", "t.b")), make(2, schema=Strict)])
    assert registry.validate("t.a", {"grams": "x", "kilograms": 1.0}) == ()
    assert len(registry.validate("t.a", {"grams": 1})) == 1
    assert registry.route("t.b") == ()


def test_two_of_one_name_and_version() -> None:
    with pytest.raises(errors.DuplicatePipelineError, match="'p' and have version 2"):
        PipelineRegistry([ONE, TWO, make(2)])


# --- on_change and upcasts


def to_grams(data: JsonValue) -> JsonValue:
    assert isinstance(data, dict)
    data["grams"] = data.pop("kilograms") * 1000  # type: ignore[operator]  # a number
    return data


def same(data: JsonValue) -> JsonValue:
    return data


async def slowly(data: JsonValue) -> JsonValue:
    return data


@pytest.mark.parametrize(
    ("upcasts", "words"),
    [
        ([same], "a dict from a version to a function"),
        ({"1": same}, "its keys are versions"),
        ({0: same}, "whole numbers from 1 up"),
        ({2: "same"}, "a plain function that takes the data of version 2 and returns that of version 3"),
        ({2: slowly}, "a plain function"),
        ({3: same}, "there is an upcast of version 3, but the version is 3; raise version to 4"),
        ({1: same}, "there is an upcast of version 1, but none of 2"),
    ],
)
def test_upcasts_that_lead_nowhere(upcasts: Any, words: str) -> None:
    with pytest.raises(errors.InvalidUpcastError) as caught:
        make(3, upcasts=upcasts)
    assert "pipeline 'p'" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("value", ["ignore", None, True])
def test_an_on_change_that_nobody_knows(value: object) -> None:
    with pytest.raises(errors.InvalidVersionError, match=r"pipeline 'p': on_change is .*'fail' or 'restart'"):
        make(on_change=value)


def event(data: JsonValue) -> Event:
    return Event(event_id=new_id(), ce_id="1", type="t.a", data=data, received_at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("accepted", "data", "seen"),
    [
        (1, {"pounds": 2}, 1000),
        (2, {"kilograms": 1}, 1000),
        (3, {"grams": 5}, 5),
        (4, {"grams": 5}, 5),
        (None, {"grams": 5}, 5),
    ],
)
def test_data_passes_the_upcasts_from_the_version_that_accepted_it(
    accepted: int | None, data: JsonValue, seen: int
) -> None:
    def to_kilograms(data: JsonValue) -> JsonValue:
        assert isinstance(data, dict)
        return {"kilograms": data["pounds"] / 2}  # type: ignore[operator]  # a number

    pipeline = make(3, upcasts={2: to_grams, 1: to_kilograms})
    sent = event(data)
    context = pipeline.context(sent, accepted_version=accepted)
    assert context.data.grams == seen
    assert context.at("first").data.grams == seen
    assert context.event.data == data, "the event itself stays as it was sent"


def test_versions_before_the_first_upcast_changed_nothing_of_the_data() -> None:
    assert make(3, upcasts={2: to_grams}).context(event({"kilograms": 2}), accepted_version=1).data.grams == 2000


def test_an_upcast_that_breaks_names_its_versions() -> None:
    context = make(3, upcasts={2: to_grams}).context(event({}), accepted_version=2)
    with pytest.raises(UpcastError, match="from version 2 to 3 failed: KeyError: 'kilograms'"):
        _ = context.data


async def test_a_run_whose_data_cannot_be_brought_up_fails_as_an_invalid_event() -> None:
    pipeline = make(3, upcasts={2: to_grams})
    outcome = await execute(pipeline, pipeline.context(event({}), accepted_version=2), MemoryJournal())
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.error.type) == (FailureKind.INVALID_EVENT, "UpcastError")
