from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is put forward: retries, sleeps and waits pass on it at once.

    ``start`` is where it begins, without a zone in UTC.
    """

    def __init__(self, start: datetime = START) -> None:
        self.start = start if start.tzinfo else start.replace(tzinfo=UTC)
        self._elapsed = 0.0

    @property
    def elapsed(self) -> float:
        """The seconds since its start."""
        return self._elapsed

    @property
    def now(self) -> datetime:
        """The time of day that it shows, in UTC."""
        return (self.start + timedelta(seconds=self._elapsed)).astimezone(UTC)

    def advance(self, by: float | timedelta) -> None:
        """Put it forward, by seconds or a ``timedelta``."""
        self._elapsed += seconds_of(by)


def seconds_of(span: float | timedelta) -> float:
    """Return a span of time in seconds.

    Raises:
        ValueError: it is below 0.

    """
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if not seconds >= 0:
        raise ValueError(f"{span!r} is no span of time; give seconds from 0 up, or a timedelta")
    return seconds
