"""The little of HTTP/1.1 that both ends of a measurement need; lean, so that it isn't what is measured."""

from typing import NamedTuple

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Message(NamedTuple):
    """One whole message: its first line and headers, its body, and what came after it."""

    head: bytes
    body: bytes
    rest: bytes


def read_message(data: bytes) -> Message | None:
    """Return the first message in ``data``, None while it isn't whole. Bodies need a content-length, in any case."""
    end = data.find(_END)
    if end < 0:
        return None
    head = data[:end]
    start = end + len(_END)
    length = _content_length(head)
    if len(data) < start + length:
        return None
    return Message(head, data[start : start + length], data[start + length :])


def status_of(head: bytes) -> int:
    """Return the status code of a response."""
    return int(head[9:12])


def _content_length(head: bytes) -> int:
    place = head.find(_LENGTH)
    if place < 0:
        head = head.lower()
        place = head.find(_LENGTH)
        if place < 0:
            return 0
    stop = head.find(b"\r", place)
    return int(head[place + len(_LENGTH) : stop if stop > 0 else None])
