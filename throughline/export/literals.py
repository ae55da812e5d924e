import json
from collections.abc import Mapping
from typing import Final

from events import JsonValue

_WIDTH: Final = 100
_STEP: Final = 4


def literal(value: JsonValue, *, indent: int) -> str:
    """Write JSON as Python, as formatters do: what is too long for a line is broken, the lines ``indent`` spaces in."""
    line = _line(value)
    if len(line) + indent <= _WIDTH or not isinstance(value, Mapping | list) or not value:
        return line
    inner = indent + _STEP
    if isinstance(value, Mapping):
        parts = [f"{quoted(key)}: {literal(item, indent=inner)}" for key, item in value.items()]
        opening, closing = "{", "}"
    else:
        parts = [literal(item, indent=inner) for item in value]
        opening, closing = "[", "]"
    lines = "".join(f"{' ' * inner}{part},\n" for part in parts)
    return f"{opening}\n{lines}{' ' * indent}{closing}"


def quoted(text: str) -> str:
    """Write a text in double quotes, if nothing in it would be unseen there."""
    written = json.dumps(text, ensure_ascii=False)
    return written if written.isprintable() else repr(text)


def _line(value: JsonValue) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)}: {_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_line, value)) + "]"
    return quoted(value) if isinstance(value, str) else repr(value)
