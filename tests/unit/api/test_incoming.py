import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.incoming import InvalidEventError, read_event
from api.json_text import MalformedJsonError


def body_of(**fields: object) -> bytes:
    return json.dumps({"type": "a.b", "data": {"n": 1}} | fields).encode()


def errors_of(body: bytes) -> dict[str, str]:
    with pytest.raises(InvalidEventError) as raised:
        read_event(body)
    return dict(raised.value.errors)


def test_an_event_needs_a_type_and_data_only() -> None:
    event = read_event(b'{"type": "a.b", "data": null}')
    assert (event.type, event.data, event.source, event.id, event.subject, event.time) == (
        *("a.b", None),
        *(None, None, None, None),
    )


def test_null_counts_as_not_sent_for_what_is_optional() -> None:
    event = read_event(body_of(source=None, id=None, subject=None, time=None))
    assert event.content_hash == read_event(body_of()).content_hash


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    assert errors_of(body) == {"body": "must be a JSON object"}


def test_every_wrong_field_is_named_at_once() -> None:
    errors = errors_of(b'{"type": "", "source": "not a uri", "id": 7, "time": "yesterday", "specversion": "1.0"}')
    assert set(errors) == {"specversion", "type", "source", "id", "time", "data"}


@pytest.mark.parametrize("field", ["type", "source", "id", "subject"])
@pytest.mark.parametrize("value", ["", 1, True, [], {}, "a\n", "a\x7f", "\x85", "\uffff", "x" * 2000])
def test_attributes_are_bounded_text_without_control_characters(field: str, value: object) -> None:
    assert field in errors_of(body_of(**{field: value}))


@pytest.mark.parametrize("source", ["a b", "a%zz", "http://x/ü", "<x>"])
def test_a_source_is_a_uri_reference(source: str) -> None:
    assert errors_of(body_of(source=source)) == {"source": "must be a URI-reference (RFC 3986)"}


@pytest.mark.parametrize("source", ["/sensors/tn-1/alerts", "urn:uuid:6e8bc430", "https://x.y/z?a=%20#b", "1-555"])
def test_usual_sources_pass(source: str) -> None:
    assert read_event(body_of(source=source)).source == source


@pytest.mark.parametrize(
    "time", ["2026-11-23T08:30:00", "2026-11-23", "2026-13-01T00:00:00Z", 1700000000, "0001-01-01T00:00:00+10:00"]
)
def test_a_time_has_a_zone_and_is_storable(time: object) -> None:
    assert set(errors_of(body_of(time=time))) == {"time"}


def test_a_time_is_read_as_utc() -> None:
    assert read_event(body_of(time="2026-11-23t08:30:00.5+02:00")).time == datetime(
        2026, 11, 23, 6, 30, 0, 500_000, tzinfo=UTC
    )


def test_errors_quote_no_values() -> None:
    errors = errors_of(body_of(id="hunter2\n", source="hunter2 ", time="hunter2", subject=["hunter2"]))
    assert "hunter2" not in repr(errors)


def test_the_name_of_an_unknown_field_is_shortened() -> None:
    assert max(map(len, errors_of(body_of(**{"x" * 10_000: 1})))) == 100


@pytest.mark.parametrize("same", [{"id": "1"}, {"source": "/x"}, {"id": "2", "source": "/y"}])
def test_the_key_is_no_part_of_the_content(same: dict[str, str]) -> None:
    assert read_event(body_of(**same)).content_hash == read_event(body_of()).content_hash


@pytest.mark.parametrize(
    "other", [{"type": "a.c"}, {"data": {"n": 2}}, {"subject": "s"}, {"time": "2026-11-23T08:30:00Z"}, {"data": "n"}]
)
def test_everything_else_is(other: dict[str, object]) -> None:
    assert read_event(body_of(**other)).content_hash != read_event(body_of()).content_hash


def test_the_order_of_keys_and_white_space_are_no_content() -> None:
    one = read_event(b'{"type":"a","data":{"x":1,"y":[1,2]}}')
    two = read_event(b'{ "data" : {"y": [1, 2], "x": 1}, "type": "a" }')
    assert one.content_hash == two.content_hash


@given(st.binary(max_size=200))
def test_random_bytes_are_an_event_or_refused(body: bytes) -> None:
    try:
        read_event(body)
    except (MalformedJsonError, InvalidEventError):
        return
    raise AssertionError("random bytes made an event")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(json_values)
def test_data_is_kept_as_it_was_sent(data: object) -> None:
    """Also big integers, and all of Unicode but U+0000, which is refused."""
    body = json.dumps({"type": "a", "data": data}).encode()
    if "\\u0000" in json.dumps(data) and "\0" in str(json.loads(body)).replace("\\x00", "\0"):
        assert errors_of(body)
        return
    assert json.loads(read_event(body).text) == data
