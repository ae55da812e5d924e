"""Who may go next: plain arithmetic over lanes, and what their limits have left."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from events import LimitKey
from storage.admission import CountedBy, Lane, Standing


class _Name(NamedTuple):
    tenant: str | None
    name: str
    key: str


class Room:
    """What limits have left, as runs are allotted to them one by one."""

    def __init__(self, standing: Mapping[CountedBy, Standing]) -> None:
        self._standing = standing
        self._given: defaultdict[_Name, int] = defaultdict(int)

    def has(self, lane: Lane) -> bool:
        """Say whether every limit of the lane allows one more."""
        return all(self._allows(lane.tenant, limit) for limit in lane.limits)

    def take(self, lane: Lane) -> None:
        """Count one more run of the lane."""
        for limit in lane.limits:
            self._given[_Name(lane.tenant, limit.name, limit.key)] += 1

    def _allows(self, tenant: str | None, limit: LimitKey) -> bool:
        stands = self._standing[tenant, limit]
        given = self._given[_Name(tenant, limit.name, limit.key)]
        if limit.concurrency is not None and stands.held + given >= limit.concurrency:
            return False
        return limit.rate is None or stands.started + given < limit.rate


def allot(lanes: Sequence[Lane], due: Mapping[str, int], room: Room, *, most: int) -> list[str]:
    """Name the lanes that runs go of now, one name a run and ``most`` in all: those of a higher priority first.

    Lanes of one priority take turns, a run at a time and in the order they come in, until none has both a due run and
    room. So a lane with few runs waits for no lane with many.
    """
    allotted: list[str] = []
    left = dict(due)
    for _, group in groupby(sorted(lanes, key=lambda lane: -lane.priority), key=lambda lane: lane.priority):
        turn = list(group)
        while turn:
            turn = [lane for lane in turn if left.get(lane.name, 0) > 0 and room.has(lane)]
            for lane in turn:
                if len(allotted) == most:
                    return allotted
                if room.has(lane):
                    room.take(lane)
                    left[lane.name] -= 1
                    allotted.append(lane.name)
    return allotted
