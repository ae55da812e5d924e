"""Finding events and runs by the beginning of their ids."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer, Text, Uuid

from settings import DatabaseSettings
from storage.engine import create_engine
from storage.queries import get_event
from storage.records import EventRecord
from storage.runs import RunStory, get_run
from storage.snapshots import snapshot, time_of
from storage.sql import typed

_HEX: Final = re.compile(r"[0-9a-f]{1,32}")

_FIND = typed(
    """
    (SELECT 'event' AS kind, event_id AS id FROM events
     WHERE tenant = :tenant AND event_id BETWEEN :least AND :greatest ORDER BY event_id LIMIT :most)
    UNION ALL
    (SELECT 'run' AS kind, run_id AS id FROM runs
     WHERE tenant = :tenant AND run_id BETWEEN :least AND :greatest ORDER BY run_id LIMIT :most)
    """,
    tenant=Text(),
    least=Uuid(),
    greatest=Uuid(),
    most=Integer(),
)


@dataclass(frozen=True, slots=True)
class IdPrefix:
    """The beginning of an id, or all of it: from 1 to 32 hexadecimal digits."""

    digits: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read it as people write it, with hyphens or without; None where it can't be one."""
        digits = text.strip().lower().replace("-", "")
        return cls(digits) if _HEX.fullmatch(digits) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundId:
    """An id and whose it is: ``event`` or ``run``."""

    kind: str
    id: UUID


async def find_ids(connection: AsyncConnection, prefix: IdPrefix, *, tenant: str, most: int = 2) -> list[FoundId]:
    """List up to ``most`` events and as many runs whose ids begin like that."""
    values = {
        "tenant": tenant,
        "least": UUID(prefix.digits.ljust(32, "0")),
        "greatest": UUID(prefix.digits.ljust(32, "f")),
        "most": most,
    }
    return [FoundId(kind=row.kind, id=row.id) for row in await connection.execute(_FIND, values)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """What an id or its beginning led to at the moment ``at``; a ``story`` only where exactly one is ``matching``."""

    at: datetime
    matching: tuple[FoundId, ...]
    story: EventRecord | RunStory | None


async def look_up(settings: DatabaseSettings, prefix: IdPrefix, *, tenant: str) -> LookedUp:
    """Read the event or run whose id begins like that, over a connection of its own.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.

    """
    engine = create_engine(settings, application="trace", pool_size=1)
    try:
        async with snapshot(engine, within=settings.connect_timeout + settings.statement_timeout) as connection:
            matching = await find_ids(connection, prefix, tenant=tenant)
            story: EventRecord | RunStory | None = None
            if [one.kind for one in matching] == ["event"]:
                story = await get_event(connection, tenant=tenant, event_id=matching[0].id)
            elif [one.kind for one in matching] == ["run"]:
                story = await get_run(connection, tenant=tenant, run_id=matching[0].id)
            return LookedUp(at=await time_of(connection), matching=tuple(matching), story=story)
    finally:
        await engine.dispose()
