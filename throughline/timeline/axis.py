from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from throughline.timeline.steps import Kind

_MARKS: Final = {Kind.WAIT: "·", Kind.ATTEMPT: "─", Kind.NODE: "━"}
_OPEN = ">"
_BREAK = "/"


class Axis:
    """Seconds on so many columns.

    ``spans`` are the stretches in which something was under way, at least one. What lies idle between two for longer
    than all of them took is cut out and takes one column of ``breaks``, so that a replay next day leaves its origin
    visible.
    """

    def __init__(self, spans: Iterable[tuple[float, float]], *, columns: int) -> None:
        self.columns = columns
        merged = _merge(spans)
        busy = sum(end - begin for begin, end in merged)
        pieces = [merged[0]]
        for begin, end in merged[1:]:
            if begin - pieces[-1][1] > busy:
                pieces.append((begin, end))
            else:
                pieces[-1] = (pieces[-1][0], end)
        length = sum(end - begin for begin, end in pieces)
        self._scale = (columns - (len(pieces) - 1)) / length if length else 0.0
        self._pieces = pieces
        before = accumulate((end - begin for begin, end in pieces), initial=0.0)
        self._columns = [round(seconds * self._scale) + place for place, seconds in enumerate(before)][:-1]
        self.breaks = [column - 1 for column in self._columns[1:]]

    def bar(self, kind: Kind, begin: float, end: float, *, is_open: bool = False) -> str:
        """Return the line of a step, as wide as the axis: at least one mark."""
        place = max(bisect_right([start for start, _ in self._pieces], begin) - 1, 0)
        bound = [*self.breaks, self.columns][place]
        first = min(int(self._column(place, begin)), bound - 1)
        last = min(max(round(self._column(place, end)), first + 1), bound)
        cells = [_BREAK if column in self.breaks else " " for column in range(self.columns)]
        for column in range(first, last):
            cells[column] = _MARKS[kind]
        if is_open:
            cells[last - 1] = _OPEN
        return "".join(cells)

    def _column(self, place: int, second: float) -> float:
        return self._columns[place] + max(second - self._pieces[place][0], 0.0) * self._scale


def _merge(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged
