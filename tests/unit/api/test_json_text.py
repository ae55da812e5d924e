import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.json_text import MalformedJsonError, canonical, is_suspect, parse_json, unstorable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'{"a": NaN}',
        b"-Infinity",
        b"{}{}",
        b"[1,]",
        b"01",
        b"[" * 100_000,
        b"[" * 202 + b"]" * 202,
        b"9" * 5000,
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJsonError):
        parse_json(body)


def test_the_refusal_quotes_nothing_of_the_body() -> None:
    with pytest.raises(MalformedJsonError) as raised:
        parse_json(b'{"password": hunter2}')
    assert "hunter2" not in str(raised.value)


def test_integers_stay_exact() -> None:
    assert parse_json(b"123456789012345678901234567890") == 123456789012345678901234567890


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"a": "x\\u0000"}', "data.a"),
        (b'{"a": [0, {"b": "\\u0000"}]}', "data.a.1.b"),
        (b'{"a\\u0000": 1}', "data.a\N{REPLACEMENT CHARACTER}"),
        (b'{"a": 1e400}', "data.a"),
        (b'{"a": -1E+400}', "data.a"),
        (b'{"a":1.5e0000400}', "data.a"),
        (b"[" + b"9" * 400 + b".0]", "data.0"),
        (b"[" + b"9" * 300 + b"e99]", "data.0"),
    ],
)
def test_what_jsonb_cannot_hold_is_found_with_its_path(body: bytes, path: str) -> None:
    assert is_suspect(body)
    assert [where for where, _ in unstorable(parse_json(body), "data")] == [path]


@pytest.mark.parametrize("body", [b'{"a": "\\\\u0000"}', b'{"a": "1e999"}', b'{"a": 1e100}', b"[12345e-999]"])
def test_what_only_looks_bad_passes(body: bytes) -> None:
    assert unstorable(parse_json(body), "data") == []


@pytest.mark.parametrize("body", [b'{"sha": "12e4567f", "n": [1.5, 2e10, -3E+5]}', b'{"when": "2026-11-23T08:30:00Z"}'])
def test_ordinary_bodies_are_spared_the_walk(body: bytes) -> None:
    assert not is_suspect(body)


_PARTS = [
    "e",
    "E",
    "+",
    "-",
    "0",
    "9",
    "300",
    "1e400",
    "2E+999",
    "[",
    ":",
    ",",
    " ",
    '"',
    ".",
    "7" * 150,
    "x",
    "\\u0000",
]


@given(st.lists(st.sampled_from(_PARTS), max_size=30).map("".join))
def test_what_may_be_beyond_jsonb_is_found_as_its_grammar_says(text: str) -> None:
    body = text.encode()
    beyond = rb"\\u0000|\d{200}|[\[:,\s]-?\d[\d.]*[eE]\+?\d{3}"
    assert is_suspect(body) == (re.search(beyond, body) is not None)


def test_the_number_of_problems_told_is_bounded() -> None:
    assert len(unstorable([math.inf] * 1000, "data")) == 20


def test_canonical_text_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": {"d": 1, "c": 2}, "a": "ä"}) == canonical({"a": "ä", "b": {"c": 2, "d": 1}})


def test_canonical_text_keeps_integers_beyond_64_bits() -> None:
    assert canonical({"b": 2**80, "a": 1}) == b'{"a":1,"b":1208925819614629174706176}'
