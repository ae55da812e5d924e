from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from opentelemetry.context import Context
from pydantic import BaseModel, ConfigDict, Field

from events import DEFAULT_TENANT

_TEXT = r"^[^\x00]+$"
"""What PostgreSQL can store, and something."""


class MessageBody(BaseModel):
    """What a message must hold, and all that it holds: ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: Annotated[str, Field(max_length=200, pattern=_TEXT)] = DEFAULT_TENANT
    pipeline: Annotated[str, Field(max_length=200, pattern=_TEXT)]
    run_ids: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=10_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it came: run ids of one pipeline, and the trace context of Celery's span for it."""

    tenant: str
    pipeline: str
    run_ids: tuple[UUID, ...]
    queue: str
    task_id: str | None = None
    context: Context = field(default_factory=Context)


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a message's runs; kept as its Celery result, which Flower shows.

    ``outcomes`` counts how their attempts ended: ``succeeded``, ``failed``, ``retried``, and so on. ``left`` still ran
    when the message was acknowledged. What was asked for and not claimed was done, held by another worker, not due, or
    deferred.
    """

    runs: int
    claimed: int = 0
    deferred: int = 0
    left: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
