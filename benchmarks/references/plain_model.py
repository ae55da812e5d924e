"""The plain design's table."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, create_engine, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.references.environment import database_url


class Base(DeclarativeBase):
    """What the plain design's tables derive from."""


class PlainEvent(Base):
    """An event and what came of it, in one row."""

    __tablename__ = "plain_events"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    type: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


def plain_engine(*, pool_size: int) -> Engine:
    """Make an engine with this many connections, which stay open."""
    return create_engine(database_url(), pool_size=pool_size)
