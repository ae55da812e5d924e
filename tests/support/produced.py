"""Runs in a real database as production leaves them: claimed, executed, retried and finished, in this process."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import Event, LimitKey, QueueReason, RunStatus, Suspended, new_id
from pipelines import Pipeline, execute
from pipelines.arrivals import WaitState
from pipelines.testing.arriving import matches
from storage import claims, ingest, leases, outcomes
from storage.attempts import errors_by_node
from storage.engine import transaction
from storage.outcomes import NodeWrite
from storage.records import ClaimedRun, NewEvent, NewRun
from tests.support.driver import Fetching
from worker.journal import RunJournal, record_of
from worker.outcomes import finish_of

TENANT = "default"


class _Checkpoints:
    """What a journal writes through."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def checkpoint(self, nodes: tuple[NodeWrite, ...]) -> None:
        async with transaction(self._engine) as connection:
            await outcomes.write_nodes(connection, nodes)


_WAIT = text(
    """
    INSERT INTO waits (tenant, run_id, node, type, path, key, until, probed, matched_event_id, ended_at)
    VALUES (:tenant, :run_id, :node, :type, :path, :key, now() + make_interval(secs => :delay), true, :event_id, now())
    """
)


class Produced:
    """Takes events in and brings their runs to an end; policies that wait make it wait.

    Sleeps are over at once; so are waits, by the first of ``arriving`` that matches, or else for want of time.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.arriving: list[Event] = []
        self._lease_id: UUID | None = None
        self._waits: dict[UUID, dict[str, WaitState]] = {}
        self._permits: dict[UUID, set[LimitKey]] = {}

    async def store(self, event: Event, *pipelines: Pipeline[Any]) -> list[UUID]:
        """Store an event with a run for each pipeline, queued."""
        runs = tuple(
            NewRun(run_id=new_id(), pipeline=one.name, pipeline_version=one.version, queue=one.queue)
            for one in pipelines
        )
        new = NewEvent(
            tenant=TENANT,
            event_id=event.event_id,
            source=event.source,
            ce_id=event.ce_id,
            type=event.type,
            subject=event.subject,
            time=event.time,
            data=json.dumps(event.data),
            content_hash=b"x" * 32,
            traceparent=None,
            runs=runs,
        )
        async with transaction(self.engine) as connection:
            await ingest.store_events(Fetching(connection), [new])
        return [run.run_id for run in runs]

    async def run(self, event: Event, *pipelines: Pipeline[Any]) -> list[UUID]:
        """Store an event and run the pipelines on it to their ends; return the runs' ids."""
        run_ids = await self.store(event, *pipelines)
        for run_id, pipeline in zip(run_ids, pipelines, strict=True):
            while await self._attempt(run_id, pipeline) is RunStatus.QUEUED:
                pass
        return run_ids

    async def _attempt(self, run_id: UUID, pipeline: Pipeline[Any]) -> RunStatus:
        claimed = await self._claim(run_id)
        context = await self._context(claimed, pipeline)
        journal = RunJournal(claimed, _Checkpoints(self.engine))  # type: ignore[arg-type]  # what it needs of them
        outcome = await execute(pipeline, context, journal)
        if isinstance(outcome, Suspended):
            await self._suspend(run_id, outcome)
            outcome = replace(outcome, delay=0.0)
        finish = replace(finish_of(claimed, outcome, journal.pending), wait=None, limits=None)
        async with transaction(self.engine) as connection:
            moved = await outcomes.finish_runs(connection, [finish])
        return moved[run_id, claimed.attempt].status

    async def _suspend(self, run_id: UUID, suspended: Suspended) -> None:
        if suspended.reason is QueueReason.LIMITED:
            self._permits.setdefault(run_id, set()).update(suspended.limits)
            return
        awaited = suspended.awaited
        found = next((one for one in self.arriving if awaited is not None and matches(awaited, one)), None)
        if found is not None:
            await self.store(found)
        self._waits.setdefault(run_id, {})[suspended.node] = WaitState(remaining=0.0, event=found)
        values = {
            "tenant": TENANT,
            "run_id": run_id,
            "node": suspended.node,
            "type": awaited and awaited.type,
            "path": awaited and awaited.path,
            "key": awaited and awaited.key,
            "delay": suspended.delay,
            "event_id": found and found.event_id,
        }
        async with transaction(self.engine) as connection:
            await connection.execute(_WAIT, values)

    async def _claim(self, run_id: UUID) -> ClaimedRun:
        if self._lease_id is None:
            self._lease_id = new_id()
            async with transaction(self.engine) as connection:
                await leases.open_lease(connection, lease_id=self._lease_id, worker="worker-1", seconds=600.0)
        asked = claims.Claim(tenant=TENANT, run_ids=[run_id], span_ids=[None], lease_id=self._lease_id, task_id=None)
        while True:
            async with transaction(self.engine) as connection:
                for claimed in await claims.claim_runs(connection, asked):
                    return claimed

    async def _context(self, claimed: ClaimedRun, pipeline: Pipeline[Any]) -> Any:
        run_ids: Sequence[UUID] = [claimed.run_id]
        async with transaction(self.engine) as connection:
            done = await claims.done_nodes(connection, tenant=TENANT, run_ids=run_ids)
            errors = await errors_by_node(connection, tenant=TENANT, run_ids=run_ids)
        results = [record_of(result) for result in done.get(claimed.run_id, ())]
        return pipeline.context(
            claimed.event,
            run_id=claimed.run_id,
            attempt=claimed.attempt,
            errors_by_node=errors.get(claimed.run_id),
            done={(result.node, result.item): result for result in results},
            waits=self._waits.get(claimed.run_id),
            permits=self._permits.get(claimed.run_id, ()),
            age=claimed.age,
        )
