import html
from collections.abc import Iterator
from typing import Final

from pipelines.drawing.layout import Box
from pipelines.drawing.picture import Kind
from pipelines.drawing.sizes import FONT_SIZE, NOTE_SIZE, PADDING, TITLE_BAR, width_of

BOLT: Final = "M6 0L0 7.5h4L2.5 13L9 5h-4.2z"
_NOTCH: Final = 12.0
_STACK: Final = 4.0


def escaped(text: str) -> str:
    """Return a text as it may stand in XML, in an attribute too."""
    return html.escape("".join(letter if letter.isprintable() else " " for letter in text))


def outline(box: Box) -> Iterator[str]:
    """Yield the shape that tells the kind of a figure, in a box whose corner is at 0, 0."""
    width, height, kind = box.width, box.height, box.figure.kind
    if box.inside is not None:
        yield f'<rect class="frame {kind.value}" width="{width:.1f}" height="{height:.1f}" rx="10"/>'
        if kind is Kind.CONCURRENT:
            yield from (_bar(width, y) for y in (0.0, height))
    elif kind is Kind.END:
        yield f'<circle class="shape" cx="{width / 2:.1f}" cy="{height / 2:.1f}" r="{width / 2 - 1:.1f}"/>'
        yield f'<circle class="dot" cx="{width / 2:.1f}" cy="{height / 2:.1f}" r="{width / 2 - 5:.1f}"/>'
    elif kind is Kind.ROUTER:
        x, y = width / 2, height / 2
        yield f'<path class="shape" d="M{x:.1f} 0L{width:.1f} {y:.1f} {x:.1f} {height:.1f} 0 {y:.1f}z"/>'
    elif kind is Kind.WAIT:
        yield f'<path class="shape" d="M0 0H{width:.1f}V{height:.1f}H0L{_NOTCH} {height / 2:.1f}z"/>'
    elif kind is Kind.MAP:
        for step in (2, 1, 0):
            yield _rectangle(
                width - 2 * _STACK, height - 2 * _STACK, x=step * _STACK, y=(2 - step) * _STACK, radius=7.0
            )
    else:
        yield _rectangle(width, height, radius=height / 2 if kind in {Kind.EVENT, Kind.SLEEP} else 7.0)


def texts(box: Box) -> Iterator[str]:
    """Yield what stands in a figure, and the mark of its effects."""
    figure = box.figure
    if box.inside is not None:
        yield from _title_bar(box)
        return
    shift = {Kind.WAIT: _NOTCH / 2, Kind.MAP: -_STACK}.get(figure.kind, 0.0)
    drop = _STACK if figure.kind is Kind.MAP else 0.0
    x, middle = box.width / 2 + shift, box.height / 2 + drop
    if figure.effects:
        x += 6.0
        left = x - width_of(figure.title, size=FONT_SIZE) / 2 - 13.0
        yield _bolt(left, middle - 6.5 - (8.0 if figure.note else 0.0))
    if figure.title:
        style = "note" if figure.kind is Kind.EVENT else "title"
        yield _text(figure.title, style, x, middle + FONT_SIZE / 3 - (8.0 if figure.note else 0.0), anchor="middle")
    if figure.note:
        yield _text(figure.note, "note", box.width / 2 + shift, middle + NOTE_SIZE / 3 + 10.0, anchor="middle")


def _title_bar(box: Box) -> Iterator[str]:
    x, figure = PADDING, box.figure
    y = TITLE_BAR / 2 + FONT_SIZE / 3 + 3.0
    if figure.effects:
        yield _bolt(x, y - 11.0)
        x += 14.0
    yield _text(figure.title, "title", x, y)
    if figure.note:
        yield _text(figure.note, "note", x + width_of(figure.title, size=FONT_SIZE) + PADDING, y)


def _rectangle(width: float, height: float, *, x: float = 0.0, y: float = 0.0, radius: float) -> str:
    return f'<rect class="shape" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:.1f}"/>'


def _bar(width: float, y: float) -> str:
    return f'<rect class="bar" x="8" y="{y - 2.5:.1f}" width="{width - 16:.1f}" height="5" rx="2.5"/>'


def _bolt(x: float, y: float) -> str:
    return f'<path class="bolt" d="{BOLT}" transform="translate({x:.1f} {y:.1f})"/>'


def _text(text: str, style: str, x: float, y: float, *, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'
