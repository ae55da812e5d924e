from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from events import ErrorInfo, JsonValue, NodeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """How one node of a run ended: the checkpoint to resume from.

    ``duration`` is in seconds; ``span_id`` is 16 hex digits. ``item`` tells apart the results of a node that runs for
    several items; it is 0 for all others. ``text`` is the output as JSON text, of a node that was called just now.
    """

    node: str
    item: int = 0
    status: NodeStatus
    output: JsonValue = None
    text: str | None = None
    error: ErrorInfo | None = None
    started_at: datetime
    duration: float = 0.0
    span_id: str | None = None


class Journal(Protocol):
    """Where node results are kept. What it raises ends the execution: it is no error of the user's."""

    def begin(self) -> None:
        """Be told that a node is about to be called; raise if its result would be refused."""

    async def record(self, result: NodeRecord, *, durable: bool) -> None:
        """Keep ``result``. ``durable``: committed when this returns; otherwise it may ride with the next write."""


@dataclass(slots=True)
class MemoryJournal:
    """Keeps results in memory: for tests, and for trying a pipeline out with nothing started."""

    records: list[NodeRecord] = field(default_factory=list)
    durable: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """See ``Journal.begin``."""

    async def record(self, result: NodeRecord, *, durable: bool) -> None:
        """See ``Journal.record``."""
        self.records.append(result)
        if durable:
            self.durable.add(result.node)

    @property
    def done(self) -> dict[tuple[str, int], NodeRecord]:
        """The last result of each node and item, as a later attempt would find it."""
        return {(record.node, record.item): record for record in self.records}
