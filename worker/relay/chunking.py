"""How much is sent, and in what pieces: plain arithmetic."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from storage.records import DueRun

_REFILL_SHARE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to be sent: runs of one tenant, pipeline and queue."""

    tenant: str
    pipeline: str
    queue: str
    runs: tuple[DueRun, ...]


def room_in_window(sent: int, *, window: int, backlog: bool) -> int:
    """Tell how many runs may be sent when ``sent`` are in Redis unclaimed.

    Under a backlog the window is filled up in portions, an eighth of it at least: a full window from which runs go one
    by one would otherwise be filled up by messages of one.
    """
    room = max(0, window - sent)
    return 0 if backlog and room < window // _REFILL_SHARE else room


def message_size(waiting: int, *, single_below: int, max_runs: int) -> int:
    """Tell how many runs share a message when ``waiting`` are due or sent and unclaimed.

    One up to ``single_below``; from there on whatever makes about ``single_below`` messages of them, up to
    ``max_runs``. So the size follows how far the workers are behind, without a step.
    """
    return max(1, min(max_runs, math.ceil(waiting / single_below)))


def split(runs: Iterable[DueRun], *, size: int) -> Iterator[Outgoing]:
    """Put every run into exactly one message of at most ``size`` runs; within a message they keep their order.

    A message has runs of one priority, and comes before those whose first run came later.
    """
    groups: defaultdict[tuple[str, str, str, int], list[DueRun]] = defaultdict(list)
    for run in runs:
        groups[run.tenant, run.pipeline, run.queue, run.priority].append(run)
    for (tenant, pipeline, queue, _), members in groups.items():
        for start in range(0, len(members), size):
            yield Outgoing(tenant=tenant, pipeline=pipeline, queue=queue, runs=tuple(members[start : start + size]))
