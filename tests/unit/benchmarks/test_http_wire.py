import pytest

from benchmarks.http_wire import read_message, status_of

ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 5\r\nx: y\r\n\r\nhello"


@pytest.mark.parametrize("end", range(len(ANSWER)))
def test_a_part_of_a_message_is_none(end: int) -> None:
    assert read_message(ANSWER[:end]) is None


def test_a_message_and_what_came_after_it() -> None:
    message = read_message(ANSWER + b"HTTP/1.1 5")
    assert message is not None
    assert (status_of(message.head), message.body, message.rest) == (202, b"hello", b"HTTP/1.1 5")


@pytest.mark.parametrize("header", [b"Content-Length: 2", b"CONTENT-LENGTH:2", b"content-length: 2"])
def test_a_header_may_be_written_in_any_case_and_stand_last(header: bytes) -> None:
    message = read_message(b"POST / HTTP/1.1\r\nhost: x\r\n" + header + b"\r\n\r\nab")
    assert message is not None
    assert message.body == b"ab"


def test_a_message_without_a_length_has_no_body() -> None:
    message = read_message(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert message is not None
    assert (message.body, message.rest) == (b"", b"")
