"""What a run's life comes to, told without a database: the model that storage must agree with."""

from dataclasses import dataclass, field
from uuid import UUID

FINAL = frozenset({"succeeded", "failed", "cancelled"})
Key = UUID | str
"""A run's or a lease's id, or an event's ``ce_id``."""
Node = tuple[str, int, int]
"""``(status, attempt, output)``."""


@dataclass(slots=True)
class Run:
    """A run's row, attempts and node results. Times are told as what they permit now; ``published`` is a taking."""

    event: str
    queue: str = "default"
    status: str = "queued"
    reason: str | None = "accepted"
    attempt: int = 0
    errors: int = 0
    deaths: int = 0
    cell_deaths: int = 0
    home: str | None = None
    due: bool = True
    publishable: bool = True
    published: str | None = None
    lease: UUID | None = None
    cancel: str | None = None
    kind: str | None = None
    error: str | None = None
    replay_of: UUID | None = None
    old: bool = False
    outcomes: dict[int, str | None] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.status in FINAL

    def held_by(self, attempt: int) -> bool:
        """Whether a write of this attempt counts."""
        return self.status == "running" and self.attempt == attempt

    def write(self, nodes: dict[str, Node]) -> None:
        """Keep node results; one that succeeded stays."""
        for name, node in nodes.items():
            if name not in self.nodes or self.nodes[name][0] != "succeeded":
                self.nodes[name] = node

    def queued(self, reason: str, *, due: bool) -> None:
        self.status, self.reason, self.lease = "queued", reason, None
        self.due = self.publishable = due

    def ended(self, status: str) -> None:
        self.status, self.reason, self.lease = status, None, None


@dataclass(slots=True)
class Lease:
    """A worker process boot: ``live``, ``expired`` (not renewed in time) or ``ended``."""

    cell: bool
    stands: str = "live"


@dataclass(slots=True)
class State:
    """Everything there is; ``events`` has the event's id by its ``ce_id``."""

    runs: dict[UUID, Run] = field(default_factory=dict)
    leases: dict[UUID, Lease] = field(default_factory=dict)
    events: dict[str, UUID] = field(default_factory=dict)

    def things(self) -> dict[Key, object]:
        """All of it by key."""
        return {**self.runs, **self.leases, **self.events}

    def replayed(self, run_id: UUID) -> bool:
        return any(run.replay_of == run_id for run in self.runs.values())

    def dead(self) -> list[UUID]:
        """Failed runs that nothing repeats yet."""
        return [run_id for run_id, run in self.runs.items() if run.status == "failed" and not self.replayed(run_id)]

    def of_event(self, ce_id: str) -> list[UUID]:
        return [run_id for run_id, run in self.runs.items() if run.event == ce_id]
