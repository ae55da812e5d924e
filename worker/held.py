import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pipelines import NodeRecord
from pipelines.arrivals import WaitState
from storage.outcomes import NodeWrite
from storage.records import ClaimedRun
from worker.cancellation import Cancellation
from worker.journal import RunJournal

RunKey = tuple[UUID, int]
"""Run id and attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A run that was claimed, with what its earlier attempts left.

    That is nodes that are done, errors by node, waits by node, and the last one's span.
    """

    run: ClaimedRun
    span_id: str
    done: dict[tuple[str, int], NodeRecord] = field(default_factory=dict)
    errors_by_node: dict[str | None, int] = field(default_factory=dict)
    waits: dict[str, WaitState] = field(default_factory=dict)
    previous_span_id: str | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)
    run_id: str = field(init=False)
    event_id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run_id", str(self.run.run_id))
        object.__setattr__(self, "event_id", str(self.run.event.event_id))

    @property
    def key(self) -> RunKey:
        """What tells this attempt from all others."""
        return self.run.run_id, self.run.attempt


class HeldRuns:
    """The runs that this process has under way, and the ones it is asking for."""

    def __init__(self) -> None:
        self._tasks: dict[RunKey, asyncio.Task[Any]] = {}
        self._journals: dict[RunKey, RunJournal] = {}
        self._cancellations: dict[RunKey, Cancellation] = {}
        self._asked: dict[UUID, int] = {}

    def add(self, claimed: Claimed, journal: RunJournal, task: "asyncio.Task[Any]") -> None:
        """Take up a run; it is forgotten when its task ends."""
        key = claimed.key
        self._tasks[key] = task
        self._cancellations[key] = claimed.cancellation
        self._journals[key] = journal
        task.add_done_callback(lambda _: self._forget(key))

    @contextmanager
    def asking(self, run_ids: Iterable[UUID]) -> Iterator[None]:
        """Say that these runs may become ours inside the block, before we are told."""
        asked = tuple(run_ids)
        for run_id in asked:
            self._asked[run_id] = self._asked.get(run_id, 0) + 1
        try:
            yield
        finally:
            for run_id in asked:
                self._asked[run_id] -= 1
                if not self._asked[run_id]:
                    del self._asked[run_id]

    def knows(self, key: RunKey) -> bool:
        """Say whether the run is under way here, or about to be."""
        return key in self._tasks or key[0] in self._asked

    @property
    def tasks(self) -> "set[asyncio.Task[Any]]":
        """The tasks of the runs under way."""
        return set(self._tasks.values())

    @property
    def pending(self) -> tuple[NodeWrite, ...]:
        """Node results of runs under way that are not written yet."""
        return tuple(node for journal in self._journals.values() for node in journal.pending)

    def cancel(self) -> None:
        """Cancel every run under way."""
        for task in self._tasks.values():
            task.cancel()

    def request_cancel(self, key: RunKey, reason: str) -> None:
        """Ask a run under way to end as cancelled; what is not under way here is left alone."""
        if key in self._cancellations:
            self._cancellations[key].request(reason)

    def _forget(self, key: RunKey) -> None:
        del self._tasks[key]
        del self._cancellations[key]
        del self._journals[key]
