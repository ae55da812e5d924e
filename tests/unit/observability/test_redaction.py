import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from observability.redaction import REDACTED, clean, redact_text
from observability.secret_names import HIDDEN, HiddenNames, is_secret


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


@pytest.fixture
def hidden() -> Iterator[HiddenNames]:
    HIDDEN.set(["customer_email", "iban", "address.street", "straße"])
    yield HIDDEN
    HIDDEN.set(())


@pytest.mark.parametrize("key", ["password2", "api_key_2", "token1"])
def test_a_number_behind_a_secrets_name_changes_nothing(key: str) -> None:
    assert is_secret(key)
    assert "hunter2" not in redact_text(f"{key}=hunter2")


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    "value",
    [
        {"customer_email": "gone"},
        {"customerEmail": "gone"},
        {"CUSTOMER_EMAIL": "gone"},
        {"old-customer-email-2": "gone"},
        {"customer.email": "gone"},
        {"customer": {"email": "gone"}},
        {"customers": [{"IBAN": "gone"}]},
        {"customer": [{"email": ["gone"]}]},
        {"event": {"data": {"homeAddress": {"street": {"name": "gone"}}}}},
        {"iban": 7_000_111_222},
        {"iban": True},
        {"Straße": "gone"},
    ],
)
def test_what_the_settings_name_is_hidden_however_it_is_written_and_at_any_depth(value: object) -> None:
    shown = repr(clean(value))
    assert REDACTED in shown
    assert not any(secret in shown for secret in ("gone", "7000111222", "True"))


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    "value", [{"customer": "a", "email": "b"}, {"liban": "a"}, {"ibans": 2}, {"address": {"town": "a"}}, {"iban": None}]
)
def test_what_only_resembles_it_is_not(value: object) -> None:
    assert clean(value) == value


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("refused: customer_email=gone@x.y, code 7", "refused: customer_email=[redacted], code 7"),
        ("GET /pay?iban=gone%20gone&page=2", "GET /pay?iban=[redacted]&page=2"),
        ("{'customerEmail': 'gone gone', 'n': 1}", "{'customerEmail': [redacted], 'n': 1}"),
        ('{"iban": "go\\"ne gone", "n": 1}', '{"iban": [redacted], "n": 1}'),
        (r"{\"iban\": \"gone gone\", \"n\": 1}", r"{\"iban\": [redacted], \"n\": 1}"),
        ('{"iban": ["gone", {"a": "go}ne"}], "n": 1}', '{"iban": [redacted], "n": 1}'),
        ("Payment(iban=Iban(country='gone', number=7), n=1)", "Payment(iban=[redacted], n=1)"),
        ("X-Customer-Email: gone@x.y", "X-Customer-Email: [redacted]"),
        ("[(b'iban', b'gone gone'), (b'n', b'1')]", "[(b'iban', [redacted]), (b'n', b'1')]"),
        ("address.street='gone 7' n=1", "address.street=[redacted] n=1"),
        ('{"iban": "gone, cut off', '{"iban": [redacted]'),
        ("the iban is missing; liban=7", "the iban is missing; liban=7"),
    ],
)
def test_what_the_settings_name_is_hidden_in_a_text(text: str, left: str) -> None:
    assert redact_text(text) == left


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    "text", ["iban key " + "a" * 16_000 + " =", "iban key: " + "a.b-" * 4_000, "key " + "a" * 16_000]
)
def test_a_long_word_costs_milliseconds_since_the_event_loop_waits(text: str) -> None:
    began = time.process_time()
    assert redact_text(text) == text
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_value_whose_text_was_cut_off_is_hidden_all_the_same(quote: str) -> None:
    assert redact_text(f"refused: password={quote}hunter2 hun") == f"refused: password={REDACTED}"


class _Login(BaseModel):
    password: int
    iban: int
    page: int


@pytest.mark.usefixtures("hidden")
def test_what_pydantic_quotes_of_a_hidden_field_is_hidden() -> None:
    with pytest.raises(ValidationError) as caught:
        _Login.model_validate({"password": "hunter2, really", "iban": "hunter2\n", "page": "seen"})
    shown = redact_text(str(caught.value))
    assert "hunter2" not in shown
    assert "input_value='seen'" in shown


class _Place(BaseModel):
    street: int


class _Customer(BaseModel):
    address: list[_Place]
    secrets: list[int]
    credentials: dict[str, int]


@pytest.mark.usefixtures("hidden")
def test_what_pydantic_quotes_is_hidden_by_its_whole_path_wherever_lists_are_in_it() -> None:
    with pytest.raises(ValidationError) as caught:
        _Customer.model_validate(
            {"address": [{"street": "gone 7"}], "secrets": ["gone"], "credentials": {"user": "gone"}}
        )
    assert "gone" not in redact_text(str(caught.value))


def test_nothing_is_hidden_any_more_that_was_named_before(hidden: HiddenNames) -> None:
    hidden.set(["town"])
    assert clean({"iban": "a", "town": "b"}) == {"iban": "a", "town": REDACTED}
    hidden.set(())
    assert clean({"iban": "a", "town": "b", "text": "town=b"}) == {"iban": "a", "town": "b", "text": "town=b"}


@pytest.mark.parametrize(
    "headers", [[(b"set-cookie", b"hunter2; path=/")], [(b"Authorization", b"hunter2 hunter2"), (b"accept", b"x")]]
)
def test_credentials_in_raw_headers_are_taken_out(headers: object) -> None:
    assert "hunter2" not in str(clean(repr(headers)))
