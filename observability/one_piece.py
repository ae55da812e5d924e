"""Lines that container engines hand on in one piece."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

LONGEST: Final = 16_000
"""Bytes of a line. Docker and containerd cut after 16 KiB, and no part is JSON any more: its ids would be lost."""

_FIRST_ALLOWANCE: Final = 15_000
_LEAST_ALLOWANCE: Final = 64


def in_one_piece(fields: Mapping[str, object], *, first: Sequence[str]) -> bytes:
    """Write a line's fields as a JSON object of at most ``LONGEST`` bytes.

    Where they are more, the longest values lose their middle, and become text; where even that is not enough, the
    fields ``first`` alone are left.
    """
    line, allowance = orjson.dumps(fields), _FIRST_ALLOWANCE
    while len(line) > LONGEST:
        if allowance < _LEAST_ALLOWANCE:
            fields = {name: fields[name] for name in first if name in fields}
        line = orjson.dumps({name: _cut(value, allowance) for name, value in fields.items()})
        allowance = allowance * 3 // 4
    return line


def _cut(value: object, allowance: int) -> object:
    written = orjson.dumps(value)
    if len(written) <= allowance:
        return value
    text = value if isinstance(value, str) else written.decode()
    kept = allowance * len(text) // len(written) // 2
    return f"{text[:kept]} … {len(text) - 2 * kept} characters … {text[len(text) - kept :]}"
