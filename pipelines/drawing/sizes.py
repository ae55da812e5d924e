from typing import Final, NamedTuple
from unicodedata import east_asian_width

from pipelines.drawing.picture import Figure, Kind

FONT_SIZE: Final = 13.0
NOTE_SIZE: Final = 11.0
PADDING: Final = 16.0
TITLE_BAR: Final = 30.0
_ADVANCE: Final = 0.61
"""The width of a letter of a monospaced font, as a share of its size."""


class Size(NamedTuple):
    """Width and height, in pixels."""

    width: float
    height: float


def width_of(text: str, *, size: float = NOTE_SIZE) -> float:
    """Return how wide a text stands in a monospaced font of this size."""
    cells = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
    return cells * size * _ADVANCE


def size_of(figure: Figure) -> Size:
    """Return the room that a figure needs for itself, without what is drawn within it."""
    text = max(width_of(figure.title, size=FONT_SIZE), width_of(figure.note))
    if figure.inner is not None:
        title = width_of(figure.title, size=FONT_SIZE) + width_of(figure.note) + 3 * PADDING
        return Size(title + (PADDING if figure.effects else 0.0), TITLE_BAR)
    tall = 54.0 if figure.note else 38.0
    match figure.kind:
        case Kind.END:
            return Size(20.0, 20.0)
        case Kind.ROUTER:
            return Size(text * 1.3 + 44.0, 58.0)
        case Kind.MAP:
            return Size(text + 2 * PADDING + 8.0, tall + 8.0)
        case Kind.WAIT:
            return Size(text + 3 * PADDING, tall)
        case _:
            return Size(
                text + 2 * PADDING + (10.0 if figure.effects else 0.0), tall if figure.kind is not Kind.EVENT else 30.0
            )
