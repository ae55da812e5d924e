_NEW = 0.25
"""The weight of the latest flush in what a flush takes."""


class Pace:
    """Tells how long an event that came now would wait to be stored, by how long flushes take. Times are loop times.

    ``lanes`` flushes of up to ``rows`` events go on side by side. A flush takes as long as the latest ones did, or as
    the longest under way has taken already: so it is known at once when PostgreSQL stands still, and, since the event
    loop's own lateness is in what flushes take, when the processor is what there is too little of.
    """

    def __init__(self, *, lanes: int, rows: int) -> None:
        self._lanes = lanes
        self._round = lanes * rows
        self._under_way: set[float] = set()
        self._typical = 0.0

    def begin(self, now: float) -> float:
        """A flush begins; return what to end it with."""
        while now in self._under_way:
            now += 1e-9
        self._under_way.add(now)
        return now

    def end(self, began: float, now: float, *, stored: bool) -> None:
        """A flush ends; one that PostgreSQL was away for tells nothing of the next."""
        self._under_way.discard(began)
        if stored:
            self._typical += _NEW * (now - began - self._typical)

    def wait(self, now: float, *, waiting: int) -> float:
        """Return the seconds until an event would be stored that came now, behind so many ``waiting`` ones."""
        if not waiting and len(self._under_way) < self._lanes:
            return 0.0
        flush = max(self._typical, now - min(self._under_way, default=now))
        return flush * (1 + waiting / self._round)
