import functools
import itertools
import re
from xml.etree import ElementTree as ET

import pytest

from pipelines import Pipeline, Route, RouterNode, TaskContext
from pipelines.drawing import Arrow, Figure, Kind, Picture, mermaid, picture_of, svg
from pipelines.drawing.layers import Passage, arrange
from pipelines.drawing.layout import Box, lay_out
from pipelines.flows.issue_triage import pipeline as issue_triage
from tests.support.flows import First, Last, Probe, Slow

SVG = "{http://www.w3.org/2000/svg}"


def picture(*ways: str) -> Picture:
    """Make a picture of ways such as ``a>b`` or ``a>b:label``."""
    arrows = []
    for way in ways:
        ends, _, label = way.partition(":")
        source, _, target = ends.partition(">")
        arrows.append(Arrow(source=source, target=target, label=label))
    keys = dict.fromkeys(key for arrow in arrows for key in (arrow.source, arrow.target))
    return Picture(figures=tuple(Figure(key=key, kind=Kind.NODE, title=key) for key in keys), arrows=tuple(arrows))


def test_issue_triage_as_mermaid() -> None:
    assert mermaid(picture_of(issue_triage)).splitlines() == [
        "flowchart TD",
        '    n0(["github.issues"])',
        '    n1("normalise")',
        '    n2("classify")',
        '    n3{"route_issue"}',
        '    n4("label_issue")',
        '    n5("answer")',
        '    n6("escalate")',
        '    n7((" "))',
        "    n0 --> n1",
        "    n1 --> n2",
        "    n2 --> n3",
        '    n3 -->|"is_urgent"| n6',
        '    n3 -->|"is_question"| n5',
        '    n3 -->|"has_topic"| n4',
        '    n3 -->|"otherwise"| n7',
        "    n4 --> n7",
        "    n5 --> n7",
        "    n6 --> n7",
    ]


def test_a_router_is_told_by_its_conditions_and_effects_are_marked() -> None:
    def is_odd(ctx: TaskContext[Probe], of: int = 0) -> bool:
        return (ctx.data.number + of) % 2 == 1

    class Choose(RouterNode):
        routes = (
            Route(to=First, when=functools.partial(is_odd, of=1)),
            Route(to=First, when=lambda ctx: ctx.data.number > 9),
        )
        fallback = Last

    pipeline = Pipeline(name="p", types=("a.b",), schema=Probe, start=Slow, edges={Slow: Choose})
    drawn = picture_of(pipeline)
    assert [(arrow.target, arrow.label) for arrow in drawn.arrows if arrow.source == "choose"] == [
        ("first", "is_odd or a condition"),
        ("last", "otherwise"),
    ]
    assert 'n4("⚡ first")' in mermaid(drawn)
    assert "class n4 effects" in mermaid(drawn)
    assert "has effects" in svg(drawn, name="p")
    assert "has effects" not in svg(picture_of(issue_triage), name="issue_triage")


def test_what_would_end_a_text_or_begin_a_tag_is_written_as_text_in_both() -> None:
    nasty = '"]<script>alert(1)</script>&`#\n\x00'
    shown = Picture(
        figures=(
            Figure(key="a", kind=Kind.NODE, title=nasty, note=nasty, summary=nasty, effects=True),
            Figure(key="b", kind=Kind.END),
        ),
        arrows=(Arrow(source="a", target="b", label=nasty),),
    )
    text = mermaid(shown)
    assert "<script" not in text
    assert text.count('"') == 6
    assert "\x00" not in text
    drawing = svg(shown, name=nasty)
    assert "<script" not in drawing
    assert ET.fromstring(drawing).tag == f"{SVG}svg"


def test_the_svg_shows_every_node_and_the_way_that_a_run_took() -> None:
    statuses = {"normalise": "succeeded", "answer": "failed", "escalate": "skipped"}
    root = ET.fromstring(svg(picture_of(issue_triage), name="issue_triage", statuses=statuses))
    titles = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "title"]
    assert titles == list(issue_triage.steps)
    classes = {group.get("class") for group in root.iter(f"{SVG}g")}
    assert {"node succeeded", "node failed", "node skipped", "router", "node"} <= classes
    assert not [element for element in root.iter() if "href" in " ".join(element.keys())]


def test_the_way_of_a_run_stands_in_mermaid_too() -> None:
    text = mermaid(picture_of(issue_triage), statuses={"normalise": "succeeded", "answer": "failed"})
    assert text.splitlines()[-4:] == [
        "    classDef succeeded stroke:#1a7f37",
        "    class n1 succeeded",
        "    classDef failed stroke:#cf222e",
        "    class n5 failed",
    ]


def test_arrows_lead_down_and_long_ones_pass_through_every_layer_between() -> None:
    layers = arrange(picture("a>b", "b>c", "a>c", "c>d"))
    rows = {place: number for number, row in enumerate(layers.rows) for place in row}
    assert [rows[key] for key in "abcd"] == [0, 2, 4, 6]
    assert layers.chains[2] == ("a", Passage(2, 1), Passage(2, 2), Passage(2, 3), "c")


def test_layers_are_ordered_so_that_arrows_do_not_cross() -> None:
    """The figures stand in the worst order: each is led to from the other side."""
    layers = arrange(picture("s>a", "s>b", "s>c", "a>z", "b>y", "c>x", "x>e", "y>e", "z>e"))
    assert [layers.rows[2], layers.rows[4]] in [[[*"abc"], [*"zyx"]], [[*"cba"], [*"xyz"]]]


@pytest.mark.parametrize(
    "shown",
    [
        picture("a>b", "a>c:is_so", "a>d:wants_a_very_long_way", "b>e", "c>e", "d>e", "a>e:otherwise"),
        picture(*(f"n{number}>n{number + 1}" for number in range(20)), "n0>n20:never", "n0>n10:sometimes"),
        picture(*(f"s>n{number}:when_{number}" for number in range(12)), *(f"n{number}>e" for number in range(12))),
        picture_of(issue_triage),
    ],
)
def test_no_two_boxes_overlap_and_no_arrow_runs_through_one(shown: Picture) -> None:
    drawing = lay_out(shown)
    for one, other in itertools.combinations(drawing.boxes, 2):
        assert apart(one, other), (one.figure.key, other.figure.key)
    for line, arrow in zip(drawing.lines, shown.arrows, strict=True):
        ends = {arrow.source, arrow.target}
        straight = list(zip(line.points[::2], line.points[1::2], strict=True))
        for box in drawing.boxes:
            for upper, lower in straight if box.figure.key not in ends else ():
                beside = not box.x < upper.x < box.x + box.width
                assert beside or lower.y <= box.y or upper.y >= box.y + box.height, (arrow, box.figure.key)
    assert all(box.x >= 0 and box.x + box.width <= drawing.width + 0.01 for box in drawing.boxes)
    assert all(box.y + box.height <= drawing.height + 0.01 for box in drawing.boxes)


def apart(one: Box, other: Box) -> bool:
    return (
        one.x + one.width <= other.x
        or other.x + other.width <= one.x
        or one.y + one.height <= other.y
        or other.y + other.height <= one.y
    )


def test_labels_stand_clear_of_each_other() -> None:
    drawing = lay_out(picture(*(f"s>n{number}:a_condition_{number}" for number in range(8))))
    spots = sorted((line.label_at.x, len(line.label) * 6.5) for line in drawing.lines)
    for (x, width), (other, more) in itertools.pairwise(spots):
        assert x + width / 2 < other - more / 2


def test_what_is_within_a_figure_is_drawn_within_its_box() -> None:
    inner = picture("x>y", "x>z")
    around = Figure(key="outer", kind=Kind.CONCURRENT, title="outer", inner=inner)
    box = lay_out(Picture(figures=(around,))).boxes[0]
    assert box.inside is not None
    assert box.inset.x + box.inside.width <= box.width
    assert box.inset.y + box.inside.height <= box.height
    text = mermaid(Picture(figures=(around,)))
    assert re.search(r'subgraph n0\["outer"\]\n        direction TB\n        n1\("x"\)', text)
    assert text.rstrip().endswith("end")
