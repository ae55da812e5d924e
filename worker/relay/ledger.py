import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final

from storage.due import Taken

_MOST_KEYS: Final = 2000


@dataclass(frozen=True, slots=True)
class _Entry:
    since: float
    taken: Taken


class Ledger:
    """What was sent and is left invisible to relays by the taking's short lease alone.

    Most of it is claimed within moments and needs no second update. What is older than ``age`` seconds does.
    """

    def __init__(self, *, age: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._age = age
        self._clock = clock
        self._entries: dict[str, deque[_Entry]] = {}

    def add(self, queue: str, taken: Taken, *, since: float) -> None:
        """Remember runs that were sent; ``since`` is the clock before they were taken."""
        if taken.keys:
            self._entries.setdefault(queue, deque()).append(_Entry(since, taken))

    def forget(self, queue: str, *, before: float) -> None:
        """Drop what was taken before: the queue's runs were all claimed then."""
        entries = self._entries.get(queue, deque())
        while entries and entries[0].since < before:
            entries.popleft()

    def forget_claimed(self, queue: str, *, oldest: datetime) -> None:
        """Drop what was taken before ``oldest``, by the database's clock: before the oldest that is not claimed."""
        entries = self._entries.get(queue, deque())
        while entries and entries[0].taken.at < oldest:
            entries.popleft()

    def ripe(self, *, everything: bool = False) -> list[Taken]:
        """Take out what is old enough, or everything, up to some thousand keys; again until there is no more."""
        limit = math.inf if everything else self._clock() - self._age
        found: list[Taken] = []
        count = 0
        for entries in self._entries.values():
            while entries and entries[0].since <= limit and count < _MOST_KEYS:
                entry = entries.popleft()
                found.append(entry.taken)
                count += len(entry.taken.keys)
        return found

    def __len__(self) -> int:
        return sum(len(entry.taken.keys) for entry in chain.from_iterable(self._entries.values()))
