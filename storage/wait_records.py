"""Reading waits for people and programs."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import EndedWait, WaitRecord
from storage.tables import waits

_MOST: Final = 100


async def waits_by_run(
    connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]
) -> dict[UUID, list[WaitRecord]]:
    """Read the waits of runs, each run's in the order they began; runs without any are left out."""
    query = (
        select(waits)
        .where(waits.c.tenant == tenant, waits.c.run_id.in_(run_ids))
        .order_by(waits.c.run_id, waits.c.began_at, waits.c.node)
    )
    found: dict[UUID, list[WaitRecord]] = {}
    for row in await connection.execute(query):
        record = WaitRecord(
            node=row.node,
            type=row.type,
            path=row.path,
            key=row.key,
            began_at=row.began_at,
            until=row.until,
            ended_at=row.ended_at,
            event_id=row.matched_event_id,
        )
        found.setdefault(row.run_id, []).append(record)
    return found


async def waits_ended_by(connection: AsyncConnection, *, tenant: str, event_id: UUID) -> tuple[EndedWait, ...]:
    """List the first hundred waits that an event has ended."""
    query = (
        select(waits.c.run_id, waits.c.node, waits.c.ended_at)
        .where(waits.c.tenant == tenant, waits.c.matched_event_id == event_id)
        .order_by(waits.c.ended_at, waits.c.run_id)
        .limit(_MOST)
    )
    return tuple(
        EndedWait(run_id=row.run_id, node=row.node, ended_at=row.ended_at) for row in await connection.execute(query)
    )
