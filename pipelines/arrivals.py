from dataclasses import dataclass

from pydantic import BaseModel

from events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedType:
    """What a pipeline's ``node`` may wait for: events of ``type``, told apart by their value at ``path``."""

    schema: type[BaseModel]
    type: str
    path: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitState:
    """How a wait that an earlier try began stands: ``remaining`` seconds, by the database's clock, or 0.

    ``event`` is what it waited for, once that has come.
    """

    remaining: float
    event: Event | None = None
