from collections.abc import Iterator, Mapping
from itertools import count
from typing import Final

from pipelines.drawing.picture import Arrow, Figure, Kind, Picture

_AROUND: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.EVENT: ("([", "])"),
    Kind.NODE: ("(", ")"),
    Kind.ROUTER: ("{", "}"),
    Kind.MAP: ("[[", "]]"),
    Kind.WAIT: (">", "]"),
    Kind.SLEEP: ("([", "])"),
    Kind.END: ("((", "))"),
}
_STATUS_STYLES: Final = {
    "succeeded": "stroke:#1a7f37",
    "stopped": "stroke:#1a7f37",
    "failed": "stroke:#cf222e",
    "skipped": "opacity:0.4",
}
_INDENT: Final = "    "


def mermaid(picture: Picture, *, statuses: Mapping[str, str] | None = None) -> str:
    """Write a picture as a Mermaid flowchart, which GitHub and many editors draw.

    ``statuses`` tell how the nodes of one run ended, by their names.
    """
    names = _numbered(picture, count())
    lines = ["flowchart TD", *(_INDENT + line for line in _lines(picture, names))]
    lines += [_INDENT + line for line in _classes(picture, names, statuses or {})]
    return "\n".join(lines) + "\n"


def _classes(picture: Picture, names: Mapping[str, str], statuses: Mapping[str, str]) -> Iterator[str]:
    effects = [names[figure.key] for figure in _all(picture) if figure.effects]
    if effects:
        yield "classDef effects stroke-width:3px"
        yield f"class {','.join(effects)} effects"
    for status, style in _STATUS_STYLES.items():
        having = [names[figure.key] for figure in _all(picture) if statuses.get(figure.key) == status]
        if having:
            yield f"classDef {status} {style}"
            yield f"class {','.join(having)} {status}"


def _numbered(picture: Picture, numbers: "count[int]") -> dict[str, str]:
    """Name each figure by a number: words such as ``end`` mean something to Mermaid."""
    return {figure.key: f"n{next(numbers)}" for figure in _all(picture)}


def _all(picture: Picture) -> Iterator[Figure]:
    for figure in picture.figures:
        yield figure
        if figure.inner is not None:
            yield from _all(figure.inner)


def _lines(picture: Picture, names: Mapping[str, str]) -> Iterator[str]:
    for figure in picture.figures:
        if figure.inner is None:
            yield _figure(figure, names[figure.key])
        else:
            yield f'subgraph {names[figure.key]}["{_text(figure, between=": ")}"]'
            yield f"{_INDENT}direction TB"
            yield from (_INDENT + line for line in _lines(figure.inner, names))
            yield "end"
    yield from (_arrow(arrow, names) for arrow in picture.arrows)


def _figure(figure: Figure, name: str) -> str:
    left, right = _AROUND[figure.kind]
    return f'{name}{left}"{_text(figure)}"{right}'


def _text(figure: Figure, *, between: str = "<br/>") -> str:
    mark = "⚡ " if figure.effects else ""
    note = between + _escaped(figure.note) if figure.note else ""
    return (mark + _escaped(figure.title) + note) or " "


def _arrow(arrow: Arrow, names: Mapping[str, str]) -> str:
    label = f'|"{_escaped(arrow.label)}"|' if arrow.label else ""
    return f"{names[arrow.source]} -->{label} {names[arrow.target]}"


def _escaped(text: str) -> str:
    """Write what would end a text or begin a tag as Mermaid's own entities."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    for letter, entity in (("#", "#35;"), ("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        plain = plain.replace(letter, entity)
    return plain
