"""Puts figures into layers, so that every arrow leads down, and orders each layer so that few of them cross."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

from pipelines.drawing.picture import Arrow, Picture

_SWEEPS: Final = 8


@dataclass(frozen=True, slots=True)
class Passage:
    """Where an arrow goes through a layer on its way; its label stands in the first of them."""

    arrow: int
    layer: int


Place: TypeAlias = "str | Passage"
"""What stands in a layer: a figure, by its key, or a passage."""


@dataclass(slots=True)
class Layers:
    """``rows`` from above, figures in the even ones; ``chains`` are the places that each arrow goes through.

    ``links`` tell, for each row, which of its places are joined with which of the next.
    """

    rows: list[list[Place]]
    links: list[list[tuple[Place, Place]]]
    chains: list[tuple[Place, ...]] = field(default_factory=list)


def arrange(picture: Picture) -> Layers:
    """Return the layers of a picture."""
    ranks = _ranks(picture)
    rows = range(2 * max(ranks.values(), default=0) + 1)
    layers = Layers(rows=[[] for _ in rows], links=[[] for _ in rows])
    for number, arrow in enumerate(picture.arrows):
        first, last = 2 * ranks[arrow.source], 2 * ranks[arrow.target]
        passages = (Passage(number, layer) for layer in range(first + 1, last))
        chain: tuple[Place, ...] = (arrow.source, *passages, arrow.target)
        layers.chains.append(chain)
        for row, link in enumerate(pairwise(chain), start=first):
            layers.links[row].append(link)
    for place in _walk(picture, layers):
        layers.rows[place.layer if isinstance(place, Passage) else 2 * ranks[place]].append(place)
    _untangle(layers)
    return layers


def _ranks(picture: Picture) -> dict[str, int]:
    """Count the longest way to each figure; an end stands below all else."""
    ranks: dict[str, int] = {}
    into: dict[str, list[Arrow]] = {}
    for arrow in picture.arrows:
        into.setdefault(arrow.target, []).append(arrow)
    for figure in picture.figures:
        ranks[figure.key] = max((ranks[arrow.source] + 1 for arrow in into.get(figure.key, ())), default=0)
    return ranks


def _walk(picture: Picture, layers: Layers) -> Iterator[Place]:
    """Yield all places, what is reached by earlier arrows first."""
    out: dict[Place, list[tuple[Place, ...]]] = {}
    for chain in layers.chains:
        out.setdefault(chain[0], []).append(chain)
    seen: dict[Place, None] = {}
    waiting: list[Place] = [figure.key for figure in reversed(picture.figures)]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen[place] = None
        yield place
        for chain in out.get(place, ()):
            yield from chain[1:-1]
        waiting += [chain[-1] for chain in reversed(out.get(place, ()))]


def _untangle(layers: Layers) -> None:
    best, fewest = [list(row) for row in layers.rows], _crossings(layers)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in range(1, len(layers.rows)) if down else range(len(layers.rows) - 2, -1, -1):
            _sort(layers, row, _neighbours(layers, row, above=down), layers.rows[row - 1 if down else row + 1])
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(row) for row in layers.rows], crossings
    layers.rows = best


def _neighbours(layers: Layers, row: int, *, above: bool) -> dict[Place, list[Place]]:
    found: dict[Place, list[Place]] = {}
    for upper, lower in layers.links[row - 1 if above else row]:
        found.setdefault(lower if above else upper, []).append(upper if above else lower)
    return found


def _sort(layers: Layers, row: int, near: Mapping[Place, list[Place]], beside: Sequence[Place]) -> None:
    """Sort a row by where its neighbours stand on average; what has none stays where it is."""
    at = {place: number for number, place in enumerate(beside)}
    wanted = {
        place: sum(at[other] for other in near[place]) / len(near[place]) if place in near else number
        for number, place in enumerate(layers.rows[row])
    }
    layers.rows[row].sort(key=wanted.__getitem__)


def _crossings(layers: Layers) -> int:
    return sum(_crossings_below(layers, row) for row in range(len(layers.rows) - 1))


def _crossings_below(layers: Layers, row: int) -> int:
    upper = {place: number for number, place in enumerate(layers.rows[row])}
    lower = {place: number for number, place in enumerate(layers.rows[row + 1])}
    lines = sorted((upper[one], lower[other]) for one, other in layers.links[row])
    return sum(one[1] > other[1] for number, one in enumerate(lines) for other in lines[number + 1 :])
