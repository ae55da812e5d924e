import http.client
import json
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanCounts:
    """What the collector has: spans by name, traces, and how many traces there are of each size; bytes as sent."""

    spans: int
    names: dict[str, int]
    traces: int
    sizes: dict[str, int]
    bytes: int


class SinkClient:
    """Asks the collector."""

    def __init__(self, port: int) -> None:
        self._port = port

    def counts(self) -> SpanCounts:
        """Return what has come so far."""
        return SpanCounts(**json.loads(self._ask("GET", "/spans")))

    def reset(self) -> None:
        """Forget what has come."""
        self._ask("POST", "/reset")

    def await_names(self, expected: dict[str, int], *, timeout: float = 20.0) -> SpanCounts:
        """Return what has come once all that is expected is there, or when the time is over."""
        deadline = time.monotonic() + timeout
        while True:
            counts = self.counts()
            if all(counts.names.get(name, 0) >= count for name, count in expected.items()):
                return counts
            if time.monotonic() > deadline:
                return counts
            time.sleep(0.25)

    def _ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60.0)
        try:
            connection.request(method, path, headers={"content-length": "0"})
            return connection.getresponse().read()
        finally:
            connection.close()
