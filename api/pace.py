import math

_NEW = 0.25
"""The weight of the latest flush in what a flush takes."""
_MEMORY = 2.0
"""Seconds of work after which what was stored counts for little in the rate."""


class Pace:
    """Tells how long an event that came now would wait to be stored, by how flushes went. Times are loop times.

    ``lanes`` flushes of up to ``rows`` events go on side by side. There are two ways to tell, and the shorter wait is
    the answer, since each errs on the long side: by how long a flush takes, which grows with the event loop's lateness
    though not with what waits, and by how many events a second were stored while there were any to store, which is few
    after idle times though many could have been. Both know at once when PostgreSQL stands still: nothing is stored
    before the flush that is under way.
    """

    def __init__(self, *, lanes: int, rows: int) -> None:
        self._lanes = lanes
        self._round = lanes * rows
        self._under_way: set[float] = set()
        self._typical = 0.0
        self._ended = -math.inf
        self._events = self._seconds = 0.0

    def begin(self, now: float) -> float:
        """A flush begins; return what to end it with."""
        while now in self._under_way:
            now += 1e-9
        self._under_way.add(now)
        return now

    def end(self, began: float, now: float, *, stored: int) -> None:
        """A flush ends that ``stored`` so many events; one that PostgreSQL was away for tells nothing of the next."""
        self._under_way.discard(began)
        worked = max(0.0, now - max(began, self._ended))
        self._ended = now
        if stored:
            self._typical += _NEW * (now - began - self._typical)
            kept = math.exp(-worked / _MEMORY)
            self._events = self._events * kept + stored
            self._seconds = self._seconds * kept + worked

    def wait(self, now: float, *, waiting: int) -> float:
        """Return the seconds until an event would be stored that came now, behind so many ``waiting`` ones."""
        if not waiting and len(self._under_way) < self._lanes:
            return 0.0
        age = now - min(self._under_way, default=now)
        by_flushes = self._typical * (1 + waiting / self._round)
        by_rate = waiting * self._seconds / self._events if self._events else by_flushes
        return max(age, min(by_flushes, by_rate))
