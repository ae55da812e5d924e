import random
import time
from collections.abc import Callable


class Backoff:
    """Tells how long something has failed and how long to wait: twice as long each time, capped, with jitter."""

    def __init__(self, *, first: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._longest = longest
        self._clock = clock
        self._failures = 0
        self._since = 0.0

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def failed(self) -> float:
        """Count a failure; return the seconds until the next try, between half of and the whole of what is due."""
        if not self._failures:
            self._since = self._clock()
        delay = min(self._longest, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret

    def succeeded(self) -> float:
        """End the failing; return for how many seconds it lasted, 0 if nothing had failed."""
        lasted = self._clock() - self._since if self._failures else 0.0
        self._failures = 0
        return lasted
