import json
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.redaction import REDACTED, clean, is_secret, redact_text


@pytest.mark.parametrize(
    "key",
    [
        *("password", "PASSWORD", "db_password", "user.passwd", "secret", "clientSecret", "token", "access_token"),
        *("accessToken", "Authorization", "proxy-authorization", "X-API-Key", "apikey", "openai_api_key"),
        *("Set-Cookie", "cookie", "private_key", "aws_secret_access_key", "credentials"),
    ],
)
def test_a_key_that_names_a_secret_is_one(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        "input_tokens",
        "gen_ai.usage.output_tokens",
        "token_type",
        "idempotency_key",
        "run_id",
        "key",
        "compass",
        "passed",
    ],
)
def test_a_key_that_only_resembles_one_is_not(key: str) -> None:
    assert not is_secret(key)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("connect to postgresql://app:hunter2@db:5432/x failed", "hunter2"),
        ("redis://:hunter2@cache/0", "hunter2"),
        ("amqp://u:hun@ter2@host//", "ter2"),
        ("host=db password=hunter2 user=app", "hunter2"),
        ("GET /events?token=hunter2&page=2", "hunter2"),
        ("{'api_key': 'hunter2', 'a': 1}", "hunter2"),
        ('{"password": "hunter2 two"}', "two"),
        ("Authorization: Bearer hunter2hunter2", "hunter2"),
        ("header authorization=Basic aHVudGVyMg==", "aHVudGVyMg"),
    ],
)
def test_credentials_inside_a_text_are_taken_out(text: str, secret: str) -> None:
    assert secret not in redact_text(text)
    assert REDACTED in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://throughline@127.0.0.1:5432/throughline",
        "http://127.0.0.1:8000/users/me@example.com",
        "no tokens left; the basic plan has 5",
        "the passage of time: 5 s",
    ],
)
def test_a_text_without_credentials_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_secrets_are_found_at_any_depth() -> None:
    cleaned = clean({"request": {"headers": [{"Authorization": "hunter2", "Accept": "x"}]}})
    assert cleaned == {"request": {"headers": [{"Authorization": REDACTED, "Accept": "x"}]}}


class _Broken:
    def __repr__(self) -> str:
        raise RuntimeError


@dataclass
class _Plain:
    url: str


def _endless() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value",
    [_Broken(), _endless(), 2**80, "\ud800", {1: 2, (3, 4): _Broken()}, b"\xff", {1, 2}, float("nan"), object],
)
def test_whatever_is_logged_can_be_written_as_json(value: object) -> None:
    assert orjson.dumps(clean({"value": value}))


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats() | st.binary(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_value_can_be_written_as_json(value: object) -> None:
    json.loads(orjson.dumps(clean(value)))


def test_an_objects_text_is_redacted_too() -> None:
    assert "hunter2" not in str(clean({"value": _Plain("redis://u:hunter2@h")}))


def test_a_huge_text_is_cut_and_keeps_its_ends() -> None:
    cleaned = str(clean("a" + "x" * 1_000_000 + "z"))
    assert len(cleaned) < 20_000
    assert cleaned[0] == "a"
    assert cleaned[-1] == "z"
