from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from pipelines.drawing.layout import Box, Drawing, Line, Point, lay_out
from pipelines.drawing.picture import Figure, Picture
from pipelines.drawing.shapes import BOLT, escaped, outline, texts
from pipelines.drawing.sizes import NOTE_SIZE, width_of

_MARGIN: Final = 20.0
_LEGEND: Final = 28.0
_ARROW: Final = 7.0
_LEAST_BEND: Final = 2.5
_EFFECTS_MEAN: Final = "has effects: committed before the next node starts"

_STYLE: Final = """
:root { --paper: #ffffff; --box: #f6f8fb; --frame: #fbfcfe; --line: #57606a; --ink: #1b2027; --faint: #5b6470;
  --choice: #8250df; --many: #0969da; --wait: #0a7d5a; --effect: #bc4c00; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --box: #1a212b; --frame: #121821; --line: #8b949e;
  --ink: #e6edf3; --faint: #9aa4af; --choice: #bc8cff; --many: #58a6ff; --wait: #3fb98f; --effect: #f0883e;
  --good: #3fb950; --bad: #ff7b72; } }
.paper { fill: var(--paper); }
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--ink); }
.title { font-size: 13px; font-weight: 600; }
.note, .label { font-size: 11px; fill: var(--faint); }
.label { paint-order: stroke; stroke: var(--paper); stroke-width: 5px; stroke-linejoin: round; }
.shape { fill: var(--box); stroke: var(--line); stroke-width: 1.5px; }
.frame { fill: var(--frame); stroke: var(--many); stroke-width: 1.5px; }
.frame.concurrent { stroke-dasharray: 5 4; }
.router .shape { stroke: var(--choice); }
.map .shape { stroke: var(--many); }
.wait .shape, .sleep .shape { stroke: var(--wait); }
.event .shape { fill: none; stroke-dasharray: 2 3; }
.end .shape { fill: none; }
.end .dot { fill: var(--line); }
.bar { fill: var(--many); }
.effects > .shape { stroke-width: 2.5px; stroke: var(--effect); }
.bolt { fill: var(--effect); }
.way { fill: none; stroke: var(--line); stroke-width: 1.5px; }
.tip { fill: var(--line); }
.succeeded > .shape, .succeeded > .frame, .stopped > .shape { stroke: var(--good); stroke-width: 2.5px; }
.failed > .shape, .failed > .frame { stroke: var(--bad); stroke-width: 2.5px; }
.skipped { opacity: 0.4; }
.skipped .skipped { opacity: 1; }
"""


def svg(picture: Picture, *, name: str, statuses: Mapping[str, str] | None = None) -> str:
    """Draw a picture as a document of its own, readable in light and dark; nothing in it is loaded or run.

    ``statuses`` tell how the nodes of one run ended, by their names: the picture then shows the way it took.
    """
    drawing = lay_out(picture)
    has_effects = any(_effects(figure) for figure in picture.figures)
    legend = width_of(_EFFECTS_MEAN) + 20.0 if has_effects else 0.0
    width = max(drawing.width, legend) + 2 * _MARGIN
    height = drawing.height + 2 * _MARGIN + (_LEGEND if has_effects else 0.0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"',
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escaped(name)}">',
        f"<title>{escaped(name)}</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
        f'<g transform="translate({(width - drawing.width) / 2:.1f} {_MARGIN:.1f})">',
        *_drawing(drawing, statuses or {}),
        "</g>",
        *(_legend(height) if has_effects else ()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _effects(figure: Figure) -> bool:
    return figure.effects or (figure.inner is not None and any(map(_effects, figure.inner.figures)))


def _legend(height: float) -> Iterator[str]:
    y = height - _MARGIN + 2
    yield f'<path class="bolt" d="{BOLT}" transform="translate({_MARGIN:.1f} {y - 11:.1f})"/>'
    yield f'<text class="note" x="{_MARGIN + 16:.1f}" y="{y:.1f}">{_EFFECTS_MEAN}</text>'


def _drawing(drawing: Drawing, statuses: Mapping[str, str]) -> Iterator[str]:
    for line in drawing.lines:
        yield from _line(line)
    for box in drawing.boxes:
        yield from _box(box, statuses)
    for line in drawing.lines:
        if line.label:
            x, y = line.label_at
            yield (
                f'<text class="label" x="{x:.1f}" y="{y + NOTE_SIZE / 3:.1f}" text-anchor="middle">'
                f"{escaped(line.label)}</text>"
            )


def _box(box: Box, statuses: Mapping[str, str]) -> Iterator[str]:
    figure = box.figure
    status = statuses.get(figure.key, "")
    names = " ".join(filter(None, (figure.kind.value, "effects" if figure.effects else "", status)))
    yield f'<g class="{escaped(names)}" transform="translate({box.x:.1f} {box.y:.1f})">'
    told = ": ".join(filter(None, (figure.title, figure.summary, status)))
    if told:
        yield f"<title>{escaped(told)}</title>"
    yield from outline(box)
    yield from texts(box)
    if box.inside is not None:
        yield f'<g transform="translate({box.inset.x:.1f} {box.inset.y:.1f})">'
        yield from _drawing(box.inside, statuses)
        yield "</g>"
    yield "</g>"


def _line(line: Line) -> Iterator[str]:
    *before, tip = _straightened(line.points)
    points = [*before, Point(tip.x, tip.y - _ARROW + 1)]
    path = [f"M{points[0].x:.1f} {points[0].y:.1f}"]
    for number, (one, other) in enumerate(pairwise(points)):
        if number % 2 == 0 or one.x == other.x:
            path.append(f"L{other.x:.1f} {other.y:.1f}")
        else:
            middle = (one.y + other.y) / 2
            path.append(f"C{one.x:.1f} {middle:.1f} {other.x:.1f} {middle:.1f} {other.x:.1f} {other.y:.1f}")
    yield f'<path class="way" d="{" ".join(path)}"/>'
    half = _ARROW * 0.55
    yield f'<path class="tip" d="M{tip.x:.1f} {tip.y:.1f}l{-half:.1f} {-_ARROW:.1f}h{2 * half:.1f}z"/>'


def _straightened(points: tuple[Point, ...]) -> list[Point]:
    """Take away bends that are too small to be seen as more than a fault."""
    kept = [points[0]]
    for point in points[1:]:
        kept.append(Point(kept[-1].x, point.y) if abs(kept[-1].x - point.x) < _LEAST_BEND else point)
    return kept
