import base64
from uuid import UUID

import pytest

from api.cursor import decode_cursor, encode_cursor
from events import new_id


def test_a_cursor_stands_for_an_event() -> None:
    event_id = new_id()
    assert decode_cursor(encode_cursor(event_id)) == event_id


def test_a_cursor_needs_no_escaping_in_a_query() -> None:
    assert encode_cursor(UUID(int=2**128 - 1)).replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "ä",
        "====",
        str(UUID(int=1)),
        encode_cursor(UUID(int=1))[:-1],
        encode_cursor(UUID(int=1)) + "=",
        encode_cursor(UUID(int=1)) + "A",
        encode_cursor(UUID(int=1))[:-1] + "B",
        base64.urlsafe_b64encode(b"\x02" + bytes(16)).decode(),
        "A" * 10_000,
    ],
)
def test_anything_else_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        decode_cursor(text)
