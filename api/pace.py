TICK = 0.05
_NEW = 0.25
"""The weight of the latest flush in what a flush takes."""


class Pace:
    """Tells how long an event that came now would wait to be stored, by how long flushes take.

    ``lanes`` flushes of up to ``rows`` events go on side by side. A flush takes as long as the latest ones did, or as
    the longest under way has taken already: so it is known at once when PostgreSQL stands still. What a flush took is
    told by the loop's time and no more than by its ``tick``s, of which a busy loop makes few: the loop's own lateness
    isn't PostgreSQL's. To refuse more because of it would make it later still, and store less.
    """

    def __init__(self, *, lanes: int, rows: int) -> None:
        self._lanes = lanes
        self._round = lanes * rows
        self._under_way: dict[float, int] = {}
        self._ticks = 0
        self._typical = 0.0

    def tick(self) -> None:
        """Count ``TICK`` seconds; called so often by the loop, or as often as it can."""
        self._ticks += 1

    def begin(self, now: float) -> float:
        """A flush begins; return what to end it with."""
        while now in self._under_way:
            now += 1e-9
        self._under_way[now] = self._ticks
        return now

    def end(self, began: float, now: float, *, stored: bool) -> None:
        """A flush ends; one that PostgreSQL was away for tells nothing of the next."""
        ticks = self._ticks - self._under_way.pop(began)
        if stored:
            self._typical += _NEW * (min(now - began, TICK * (ticks + 1)) - self._typical)

    def wait(self, *, waiting: int) -> float:
        """Return the seconds until an event would be stored that came now, behind so many ``waiting`` ones."""
        if not waiting and len(self._under_way) < self._lanes:
            return 0.0
        age = TICK * (self._ticks - min(self._under_way.values(), default=self._ticks))
        return max(age, self._typical) * (1 + waiting / self._round)
