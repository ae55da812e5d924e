import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from storage.deaths import Death


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """The name of a process that has runs, and the ``prefix`` of all that were in its place before it.

    ``deaths``: how those died whose end was seen, by name.
    """

    name: str
    prefix: str | None = None
    deaths: Mapping[str, Death] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of a worker: what its processes are called in leases and attempts, never the same twice."""

    hostname: str
    token: str = field(default_factory=lambda: uuid4().hex[:8])

    @property
    def name(self) -> str:
        """The name of the worker, and the beginning of its children's."""
        return f"{self.hostname}#{self.token}"

    @property
    def seat(self) -> Seat:
        """The seat of a worker without children; nobody had it before."""
        return Seat(name=self.name)

    def child(self, index: int, deaths: Mapping[int, Death]) -> Seat:
        """Return the seat of a prefork child that has begun just now; ``deaths`` are those before it, by pid."""
        prefix = f"{self.name}/{index}."
        return Seat(
            name=f"{prefix}{os.getpid()}",
            prefix=prefix,
            deaths={f"{prefix}{pid}": death for pid, death in deaths.items()},
        )


def node_name() -> str:
    """Return a Celery node name that no other worker on this host has."""
    return f"worker-{os.getpid()}@{socket.gethostname()}"
