"""A pipeline with every kind of node: drawn, and run in this process."""

import re
from dataclasses import asdict
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from api.schemas import PipelineInfo
from events import Event, JsonValue, Succeeded, Suspended, new_id
from pipelines.drawing import mermaid, picture_of, svg
from pipelines.drawing.reading import KINDS
from pipelines.kinds import Kind as NodeKind
from tests.support.every_kind import every_kind
from throughline.timeline import run_lines
from throughline.trial import Answers, story_of, try_out

SVG = "{http://www.w3.org/2000/svg}"


def event(type_: str, **data: object) -> Event:
    now = datetime.now(UTC)
    return Event(event_id=new_id(), ce_id="1", type=type_, data={"order_id": "A-7", **data}, received_at=now)  # type: ignore[dict-item]


def test_no_kind_of_node_is_without_a_figure() -> None:
    assert {step.kind for step in every_kind.all_steps.values()} == set(NodeKind)
    assert set(KINDS) == set(NodeKind)


def test_the_api_describes_what_nodes_are_made_of() -> None:
    shown = PipelineInfo(**asdict(every_kind.describe()), versions=[1])
    within = {node.name: [inner.name for inner in node.nodes] for node in shown.nodes if node.nodes}
    assert within["checks"] == ["check_stock", "check_fraud"]
    assert within["enrich"][0] == "enrich.look_up"


def test_every_kind_as_mermaid() -> None:
    text = mermaid(picture_of(every_kind))
    for line in (
        'subgraph n2["checks: side by side, 2 at once, goes on without what fails"]',
        'subgraph n5["enrich: pipeline customers v2"]',
        '>"await_payment<br/>for kinds.paid, 3 d at most"]',
        '[["⚡ reserve_items<br/>each item, 5 at once"]]',
        '(["cool_down<br/>for 10 min"])',
        '("⚡ ask_sales<br/>limited by sales")',
        '-->|"is_known"|',
        '-->|"a condition"|',
    ):
        assert line in text


def test_in_the_svg_every_kind_has_a_shape_of_its_own_and_inner_nodes_their_recorded_names() -> None:
    text = svg(picture_of(every_kind), name="every_kind", statuses={"enrich.look_up": "succeeded"})
    root = ET.fromstring(text)
    groups = [group.get("class") or "" for group in root.iter(f"{SVG}g")]
    kinds = {names.split()[0] for names in groups if names}
    assert kinds == {"event", "node", "router", "concurrent", "map", "pipeline", "wait", "sleep", "end"}
    assert groups.count("node succeeded") == 1
    frames = [frame.get("class") for frame in root.iter(f"{SVG}rect") if (frame.get("class") or "").startswith("frame")]
    assert frames == ["frame concurrent", "frame pipeline"]


async def test_a_wait_is_told_with_what_it_waits_for() -> None:
    ended = await try_out(every_kind, event("kinds.order"), answers=Answers(every_kind))
    assert isinstance(ended.outcome, Suspended)
    story = story_of(ended)
    assert story["awaits"] == {"type": "kinds.paid", "path": "data.order_id", "key": "A-7"}
    assert (story["status"], story["reason"]) == ("queued", "waiting")
    lines = "\n".join(line.plain for line in run_lines(story, width=120, now=datetime.now(UTC)))
    assert "waits in await_payment for kinds.paid with data.order_id = A-7" in lines


async def test_it_goes_on_with_an_event_that_arrives_and_sleeps_no_longer_than_it_takes_to_say_so() -> None:
    arriving = [event("kinds.paid"), event("kinds.other")]
    ended = await try_out(every_kind, event("kinds.order"), answers=Answers(every_kind), arriving=arriving)
    assert ended.outcome == Succeeded()
    story = story_of(ended)
    assert [(wait["node"], wait["event_id"]) for wait in story["waits"]] == [
        ("await_payment", str(arriving[0].event_id)),
        ("cool_down", None),
    ]
    outputs = {node["node"]: node["output"] for node in story["nodes"] if not node["item"]}
    assert outputs["await_payment"] == {"order_id": "A-7"}
    assert outputs["thank"] == "thanks, known"
    assert set(ended.stood_in) == {"check_fraud", "reserve_items"}
    assert outputs["reserve_items"] == [0, 0]


async def test_a_wait_may_be_let_expire() -> None:
    ended = await try_out(every_kind, event("kinds.order"), answers=Answers(every_kind), expire=True)
    assert ended.outcome == Succeeded()
    assert {node["node"]: node["output"] for node in story_of(ended)["nodes"]}["await_payment"] is None


async def test_limits_let_a_trial_pass_and_inner_nodes_can_be_answered_for() -> None:
    answers = Answers(every_kind, given={"enrich.fetch": {"name": "given"}, "enrich.who_is_it": "fetch"})
    ended = await try_out(every_kind, event("kinds.order", cents=5000), answers=answers)
    assert ended.outcome == Succeeded()
    story = story_of(ended)
    assert "ask_sales" in ended.stood_in
    assert {node["node"]: node["output"] for node in story["nodes"]}["thank"] == "thanks, given"
    assert re.fullmatch(r"[0-9a-f-]{36}", story["run_id"])


async def test_what_no_single_call_makes_can_be_given_too_and_is_told_as_taken_over() -> None:
    given: dict[str, JsonValue] = {"enrich": {"name": "given"}, "await_payment": None, "cool_down": None}
    answers = Answers(every_kind, given=given | {"checks": {"succeeded": [], "failed": {}}})
    ended = await try_out(every_kind, event("kinds.order"), answers=answers)
    assert ended.outcome == Succeeded()
    story = story_of(ended)
    assert [node["node"] for node in story["nodes"] if not node["attempt"]] == [*given, "checks"]
    assert "enrich.look_up" not in {node["node"] for node in story["nodes"]}
    assert story["nodes"][-1]["output"] == "thanks, given"
