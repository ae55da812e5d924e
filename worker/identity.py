import os
import socket
from dataclasses import dataclass, field
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of a worker: what its processes are called in leases and attempts, never the same twice."""

    hostname: str
    token: str = field(default_factory=lambda: uuid4().hex[:8])

    @property
    def name(self) -> str:
        """The name of the worker, and the beginning of its children's."""
        return f"{self.hostname}#{self.token}"

    def child(self, index: int) -> str:
        """Return the name of a prefork child that has begun just now."""
        return f"{self.name}/{index}.{os.getpid()}"


def node_name() -> str:
    """Return a Celery node name that no other worker on this host has."""
    return f"worker-{os.getpid()}@{socket.gethostname()}"
