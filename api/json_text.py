"""JSON as it comes in, and the part of it that PostgreSQL's jsonb can hold."""

import json
import math
import re
from collections.abc import Iterator
from itertools import islice

import orjson
from pydantic_core import from_json

from events import JsonValue

_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
"""What makes all numbers of one shape equal."""
_LONG = b"0" * 200
_LARGE = re.compile(rb"[\[:,\s]-?0[0.]*e\+?000")
_MOST_PROBLEMS = 20
_LONGEST_PATH = 200


class MalformedJsonError(ValueError):
    """The text is not JSON; the message says where, and quotes nothing."""


def parse_json(body: bytes) -> JsonValue:
    """Read JSON: UTF-8, integers exact, at most 200 levels deep; no NaN, no lone surrogates.

    Raises:
        MalformedJsonError: it can't be read.

    """
    if not body:
        raise MalformedJsonError("the body is empty")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise MalformedJsonError("the body begins with a byte order mark; send plain UTF-8")
    try:
        value: JsonValue = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedJsonError(str(error)) from None
    return value


def is_suspect(body: bytes) -> bool:
    """Say, from the raw text, whether ``unstorable`` may find something in what was read from it."""
    shape = body.translate(_SHAPE)
    return (
        b"\\u0000" in body
        or _LONG in shape
        or ((b"e000" in shape or b"e+000" in shape) and _LARGE.search(shape) is not None)
    )


def unstorable(value: JsonValue, path: str) -> list[tuple[str, str]]:
    """List what jsonb can't hold, as (path, message); the first twenty."""
    return [(where[:_LONGEST_PATH], message) for where, message in islice(_find(value, path), _MOST_PROBLEMS)]


def _find(value: JsonValue, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if "\0" in value:
            yield path, "must not contain the character U+0000, which can't be stored"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield path, "must be a number that fits in 64 bits"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find(item, f"{path}.{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            shown = key.replace("\0", "\N{REPLACEMENT CHARACTER}")
            if "\0" in key:
                yield f"{path}.{shown}", "must not have the character U+0000 in its name, which can't be stored"
            yield from _find(item, f"{path}.{shown}")


def canonical(value: JsonValue) -> bytes:
    """Write JSON in the one way in which equal values are equal bytes: keys sorted, nothing in between."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson ends at 64 bits; integers beyond are rare, and exact all the same.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
