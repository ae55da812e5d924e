"""The bodies that are sent: built once, only the id differs."""

import json
from typing import Final

_PLACE: Final = "<id>"
_LINES: Final = [{"article": f"article-{number}", "count": number, "cents": 1250} for number in range(1, 4)]


def event_parts(type_: str, *, source: str, wait: float = 0.0) -> tuple[bytes, bytes]:
    """Return an event's JSON before and after its id, which is ``event_id(n)``."""
    data = {"customer": " Ada Lovelace ", "country": "gb", "wait": wait, "lines": _LINES}
    event = {"type": type_, "source": source, "id": _PLACE, "data": data}
    before, _, after = json.dumps(event, separators=(",", ":")).partition(_PLACE)
    return before.encode(), after.encode()


def event_id(number: int) -> bytes:
    """Return the id of the event with this number; all are equally long."""
    return b"%016d" % number


class Requests:
    """HTTP/1.1 requests with events that nobody sent before; ``batch`` events each, as a JSON array, when it is set."""

    def __init__(self, type_: str, *, source: str, wait: float = 0.0, batch: int = 0) -> None:
        self._before, self._after = event_parts(type_, source=source, wait=wait)
        self._batch = batch
        self._number = 0
        length = len(self._body())
        self._number = 0
        self._head = (
            b"POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % length
        )

    @property
    def events(self) -> int:
        """How many events one request carries."""
        return self._batch or 1

    def next(self) -> bytes:
        """Return the next request."""
        return self._head + self._body()

    def _body(self) -> bytes:
        if not self._batch:
            return self._event()
        return b"[" + b",".join([self._event() for _ in range(self._batch)]) + b"]"

    def _event(self) -> bytes:
        self._number += 1
        return self._before + event_id(self._number) + self._after
