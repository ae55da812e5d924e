import os
import socket
from dataclasses import dataclass, field
from uuid import uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """The name of a process that has runs, and the ``prefix`` of all that were in its place before it."""

    name: str
    prefix: str | None = None


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

    def child(self, index: int) -> Seat:
        """Return the seat of a prefork child that has begun just now."""
        prefix = f"{self.name}/{index}."
        return Seat(name=f"{prefix}{os.getpid()}", prefix=prefix)


def node_name() -> str:
    """Return a Celery node name that no other worker on this host has."""
    return f"worker-{os.getpid()}@{socket.gethostname()}"
