"""Gives the places of each layer their coordinates, in pixels from the top left."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from pipelines.drawing.layers import Layers, Passage, Place, arrange
from pipelines.drawing.picture import Figure, Picture
from pipelines.drawing.sizes import PADDING, TITLE_BAR, Size, size_of, width_of

_BESIDE: Final = 28.0
_BESIDE_PASSAGE: Final = 18.0
_LEAST_BELOW: Final = 15.0
_MOST_BELOW: Final = 44.0
_SLOPE: Final = 0.14
"""How much of the way that arrows go sideways is added to the room they have below."""
_SWEEPS: Final = 12
_LABEL_HEIGHT: Final = 20.0


class Point(NamedTuple):
    """A place in a picture."""

    x: float
    y: float


ORIGIN: Final = Point(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A figure in its place; ``inside`` is drawn from ``inset``, which is counted from the box's corner."""

    figure: Figure
    x: float
    y: float
    width: float
    height: float
    inside: "Drawing | None" = None
    inset: Point = ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An arrow as it runs: straight down between the points of a pair, in a curve from pair to pair."""

    points: tuple[Point, ...]
    label: str
    label_at: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Boxes and lines on a sheet of this size."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def lay_out(picture: Picture) -> Drawing:
    """Return where everything in a picture stands, what is drawn within a figure included."""
    inside = {figure.key: lay_out(figure.inner) for figure in picture.figures if figure.inner is not None}
    sizes: dict[Place, Size] = {figure.key: _size(figure, inside.get(figure.key)) for figure in picture.figures}
    layers = arrange(picture)
    for number, chain in enumerate(layers.chains):
        label = picture.arrows[number].label
        for passage in chain[1:-1]:
            labelled = bool(label) and passage is chain[1]
            sizes[passage] = Size(width_of(label) + 8, _LABEL_HEIGHT) if labelled else Size(0.0, 0.0)
    xs = _columns(layers, sizes)
    tops, height = _rows(layers, sizes, xs)
    boxes = tuple(_box(figure, sizes, xs, tops, inside.get(figure.key)) for figure in picture.figures)
    lines = tuple(
        _line(picture.arrows[number].label, chain, sizes, xs, tops) for number, chain in enumerate(layers.chains)
    )
    width = max((box.x + box.width for box in boxes), default=0.0)
    width = max([width, *(line.label_at.x + width_of(line.label) / 2 for line in lines)])
    return Drawing(width=width, height=height, boxes=boxes, lines=lines)


def _size(figure: Figure, inside: Drawing | None) -> Size:
    own = size_of(figure)
    if inside is None:
        return own
    return Size(max(own.width, inside.width + 2 * PADDING), inside.height + 2 * PADDING + TITLE_BAR)


def _columns(layers: Layers, sizes: Mapping[Place, Size]) -> dict[Place, float]:
    """Return the middle of each place: near its neighbours', in the order of its row, and clear of those beside it.

    Rows follow the one above in one sweep and the one below in the next, so that a long arrow moves as a whole; in the
    last ones they follow both.
    """
    above, below = _pulls(layers)
    both = {place: [*above.get(place, ()), *below.get(place, ())] for row in layers.rows for place in row}
    xs: dict[Place, float] = {}
    for row in layers.rows:
        xs.update(_spread(row, dict.fromkeys(row, (0.0, 1.0)), sizes))
    for sweep in range(_SWEEPS):
        pulls = both if sweep >= _SWEEPS - 2 else (above, below)[sweep % 2]
        for row in layers.rows if sweep % 2 == 0 else reversed(layers.rows):
            xs.update(_spread(row, {place: _wanted(place, pulls.get(place, []), xs) for place in row}, sizes))
    left = min((xs[place] - sizes[place].width / 2 for place in xs), default=0.0)
    return {place: x - left for place, x in xs.items()}


_Pulls: TypeAlias = dict[Place, list[tuple[Place, float]]]


def _pulls(layers: Layers) -> tuple[_Pulls, _Pulls]:
    """Return what each place is drawn to in the row above, and in the row below, and how much."""
    above: _Pulls = {}
    below: _Pulls = {}
    for row in range(len(layers.rows) - 1):
        for upper, lower in layers.links[row]:
            weight = _pull(upper, lower)
            above.setdefault(lower, []).append((upper, weight))
            below.setdefault(upper, []).append((lower, weight))
    return above, below


def _pull(upper: Place, lower: Place) -> float:
    """Say how much a link wants to be straight: a long arrow most of all."""
    return {0: 1.0, 1: 2.0, 2: 12.0}[isinstance(upper, Passage) + isinstance(lower, Passage)]


def _wanted(place: Place, pulls: list[tuple[Place, float]], xs: Mapping[Place, float]) -> tuple[float, float]:
    total = sum(weight for _, weight in pulls)
    return (sum(xs[other] * weight for other, weight in pulls) / total, total) if pulls else (xs[place], 1.0)


def _spread(
    row: list[Place], wanted: Mapping[Place, tuple[float, float]], sizes: Mapping[Place, Size]
) -> dict[Place, float]:
    """Return positions as near to those ``wanted``, by their weights, as the order and the room between them allow."""
    offsets = [0.0]
    for one, other in pairwise(row):
        offsets.append(offsets[-1] + (sizes[one].width + sizes[other].width) / 2 + _room(one, other))
    blocks: list[tuple[float, float, int]] = []
    for place, offset in zip(row, offsets, strict=False):
        mean, weight, members = wanted[place][0] - offset, wanted[place][1], 1
        while blocks and blocks[-1][0] > mean:
            before, heavy, count = blocks.pop()
            mean, weight = (mean * weight + before * heavy) / (weight + heavy), weight + heavy
            members += count
        blocks.append((mean, weight, members))
    bases = [mean for mean, _, members in blocks for _ in range(members)]
    return {place: base + offset for place, base, offset in zip(row, bases, offsets, strict=False)}


def _room(one: Place, other: Place) -> float:
    return _BESIDE_PASSAGE if isinstance(one, Passage) or isinstance(other, Passage) else _BESIDE


def _rows(
    layers: Layers, sizes: Mapping[Place, Size], xs: Mapping[Place, float]
) -> tuple[dict[Place, tuple[float, float]], float]:
    """Return the top and the height of each place's row, and the height of all."""
    tops: dict[Place, tuple[float, float]] = {}
    y = 0.0
    for number, row in enumerate(layers.rows):
        height = max((sizes[place].height for place in row), default=0.0)
        tops.update((place, (y, height)) for place in row)
        y += height
        if number < len(layers.rows) - 1:
            sideways = max((abs(xs[upper] - xs[lower]) for upper, lower in layers.links[number]), default=0.0)
            y += min(_LEAST_BELOW + sideways * _SLOPE, _MOST_BELOW)
    return tops, y


def _box(
    figure: Figure,
    sizes: Mapping[Place, Size],
    xs: Mapping[Place, float],
    tops: Mapping[Place, tuple[float, float]],
    inside: Drawing | None,
) -> Box:
    size, (top, height) = sizes[figure.key], tops[figure.key]
    inset = Point((size.width - inside.width) / 2, TITLE_BAR + PADDING) if inside else ORIGIN
    return Box(
        figure=figure,
        x=xs[figure.key] - size.width / 2,
        y=top + (height - size.height) / 2,
        width=size.width,
        height=size.height,
        inside=inside,
        inset=inset,
    )


def _line(
    label: str,
    chain: tuple[Place, ...],
    sizes: Mapping[Place, Size],
    xs: Mapping[Place, float],
    tops: Mapping[Place, tuple[float, float]],
) -> Line:
    points: list[Point] = []
    for place in chain:
        (top, height), x = tops[place], xs[place]
        if isinstance(place, Passage):
            points += [Point(x, top), Point(x, top + height)]
        else:
            margin = (height - sizes[place].height) / 2
            points += (
                [Point(x, top), Point(x, top + margin)]
                if points
                else [Point(x, top + height - margin), Point(x, top + height)]
            )
    first = chain[1]
    return Line(points=tuple(points), label=label, label_at=Point(xs[first], tops[first][0] + tops[first][1] / 2))
