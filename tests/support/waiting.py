"""Runs that wait, and events that come, with the worker's and the API's part done by hand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import AwaitedEvent, Event, QueueReason, RunStatus, Suspended, new_id
from storage import claims, ingest, leases, matching
from storage.awaited import store_missing_keys
from storage.engine import transaction
from storage.outcomes import Finish, Moved, finish_runs
from storage.records import ClaimedRun, NewEvent, NewKey, NewRun
from tests.support.driver import Fetching
from worker.outcomes import finish_of

TENANT = "default"
TYPE = "order.paid"
PATH = "data.order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run that a worker holds."""

    run: ClaimedRun

    @property
    def run_id(self) -> UUID:
        return self.run.run_id

    @property
    def event_id(self) -> UUID:
        return self.run.event.event_id


def an_event(
    *,
    kind: str = "order.made",
    order: Any = "1",
    runs: int = 0,
    keyed: bool = True,
    subject: str | None = None,
) -> NewEvent:
    """Make an event as the API does; one of ``TYPE`` is awaited, and has its key unless the API is an older one."""
    event_id = new_id()
    awaited = keyed and kind == TYPE
    return NewEvent(
        tenant=TENANT,
        event_id=event_id,
        source="test",
        ce_id=str(event_id),
        type=kind,
        subject=subject,
        time=None,
        data=json.dumps({"order": order}),
        content_hash=b"x" * 32,
        traceparent=None,
        runs=tuple(NewRun(new_id(), f"p{number}", 1, "default") for number in range(runs)),
        awaited=awaited,
        keys=(NewKey(PATH, str(order)),) if awaited else (),
    )


async def store(connection: AsyncConnection, *events: NewEvent) -> list[UUID]:
    """Store events, in a transaction of the caller's."""
    return [stored.event_id for stored in await ingest.store_events(Fetching(connection), events)]


async def arrive(engine: AsyncEngine, *, order: Any = "1", keyed: bool = True, **more: Any) -> UUID:
    """Let an event of ``TYPE`` come, and commit it."""
    async with transaction(engine) as connection:
        (event_id,) = await store(connection, an_event(kind=TYPE, order=order, keyed=keyed, **more))
    return event_id


async def start(engine: AsyncEngine, count: int = 1, *, kind: str = "order.made", order: Any = "1") -> list[Started]:
    """Store events with a run each and claim the runs."""
    new = [an_event(kind=kind, order=order, runs=1) for _ in range(count)]
    async with transaction(engine) as connection:
        await store(connection, *new)
    return await claim(engine, [event.runs[0].run_id for event in new])


async def claim(engine: AsyncEngine, run_ids: Sequence[UUID]) -> list[Started]:
    """Claim runs under a lease of their own, those that can be."""
    lease_id = new_id()
    async with transaction(engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="worker:1", seconds=600.0)
    asked = claims.Claim(
        tenant=TENANT, run_ids=run_ids, span_ids=[None] * len(run_ids), lease_id=lease_id, task_id=None
    )
    async with transaction(engine) as connection:
        return [Started(run=run) for run in await claims.claim_runs(connection, asked)]


def waiting(started: Started, *, node: str = "paid", order: str = "1", seconds: float = 3600.0) -> Finish:
    """Return how a try ends that waits for an event of ``TYPE``."""
    awaited = AwaitedEvent(type=TYPE, path=PATH, key=order)
    suspended = Suspended(node=node, reason=QueueReason.WAITING, delay=seconds, awaited=awaited)
    return finish_of(started.run, suspended)


def sleeping(started: Started, *, node: str = "night", seconds: float = 3600.0) -> Finish:
    """Return how a try ends that sleeps."""
    return finish_of(started.run, Suspended(node=node, reason=QueueReason.SLEEPING, delay=seconds))


async def finish(engine: AsyncEngine, *finishes: Finish) -> dict[tuple[UUID, int], Moved]:
    """End tries."""
    async with transaction(engine) as connection:
        return await finish_runs(connection, finishes)


async def look(engine: AsyncEngine, *, most: int = 500, fill: bool = False) -> list[matching.Match]:
    """Do one look, as a relay; ``fill``: give events of an older API their keys."""
    async with transaction(engine) as connection:
        assert await matching.take_turn(connection)
        if fill:
            await store_missing_keys(connection, await matching.new_kinds(connection, most=most))
        return list((await matching.match(connection, most=most)).matches)


async def over(engine: AsyncEngine, run_id: UUID) -> None:
    """Let the time of a run's waits be over, and the run due."""
    async with transaction(engine) as connection:
        for statement in (
            "UPDATE waits SET until = now() WHERE run_id = :run_id AND ended_at IS NULL",
            "UPDATE runs SET available_at = now(), publish_at = now() WHERE run_id = :run_id",
        ):
            await connection.execute(text(statement), {"run_id": run_id})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """How a run and its wait stand."""

    status: RunStatus
    reason: QueueReason | None
    is_due: bool
    event_id: UUID | None
    ended: bool


async def stands(engine: AsyncEngine, run_id: UUID, *, node: str = "paid") -> Stands:
    """Look how a run and one of its waits stand."""
    statement = """
        SELECT r.status, r.reason, r.available_at <= now() AND r.publish_at <= now() AS is_due, w.matched_event_id,
               w.ended_at IS NOT NULL AS ended
        FROM runs r JOIN waits w USING (tenant, run_id) WHERE run_id = :run_id AND node = :node
    """
    async with engine.connect() as connection:
        row = (await connection.execute(text(statement), {"run_id": run_id, "node": node})).one()
    return Stands(
        status=RunStatus(row.status),
        reason=QueueReason(row.reason) if row.reason else None,
        is_due=row.is_due,
        event_id=row.matched_event_id,
        ended=row.ended,
    )


async def value(engine: AsyncEngine, statement: str, **parameters: object) -> Any:
    """Ask for one value."""
    async with engine.connect() as connection:
        return (await connection.execute(text(statement), parameters)).scalar_one()


def event_of(event_id: UUID, found: Event | None) -> bool:
    """Say whether this is that event."""
    return found is not None and found.event_id == event_id
