"""Events with a life, made by the statements that API, relay and worker use, in a real database."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from events import AttemptOutcome, FailureKind, NodeStatus, QueueReason, RunStatus, new_id
from storage import cancels, claims, ingest, leases, outcomes, replays
from storage.deaths import Death
from storage.engine import transaction
from storage.records import ClaimedRun, NewEvent, NewRun, NodeResult
from tests.support.driver import Fetching

TENANT = "default"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
REPLAY_TRACE = "5cf92f3577b34da6a3ce929d0e0e4736"
WORKER = "worker-7@host#ab12cd34"


def traceparent(trace_id: str) -> str:
    """Return a traceparent of that trace."""
    return f"00-{trace_id}-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An event and its runs, in the order of the pipelines."""

    event_id: UUID
    run_ids: tuple[UUID, ...]


class Stories:
    """Makes lives of events; ``lease_id`` is of the worker that has the runs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.lease_id = new_id()

    async def open_worker(self, *, worker: str = WORKER, cell: bool = False, seconds: float = 600.0) -> UUID:
        """Open the lease of a worker, whose runs are claimed from then on."""
        self.lease_id = new_id()
        async with transaction(self.engine) as connection:
            await leases.open_lease(connection, lease_id=self.lease_id, worker=worker, cell=cell, seconds=seconds)
        return self.lease_id

    async def event(self, *pipelines: str, kind: str = "test.made", queue: str = "default") -> Made:
        """Store an event that goes to the pipelines."""
        runs = tuple(
            NewRun(run_id=new_id(), pipeline=pipeline, pipeline_version=1, queue=queue) for pipeline in pipelines
        )
        event_id = new_id()
        new = NewEvent(
            tenant=TENANT,
            event_id=event_id,
            source="test",
            ce_id=str(event_id),
            type=kind,
            subject=None,
            time=None,
            data="{}",
            content_hash=b"x" * 32,
            traceparent=traceparent(TRACE),
            runs=runs,
        )
        async with transaction(self.engine) as connection:
            await ingest.store_events(Fetching(connection), [new])
        return Made(event_id=event_id, run_ids=tuple(run.run_id for run in runs))

    async def claim(self, run_id: UUID) -> ClaimedRun:
        """Claim a run as soon as it is due."""
        asked = claims.Claim(
            tenant=TENANT, run_ids=[run_id], span_ids=["00f067aa0ba902b7"], lease_id=self.lease_id, task_id="task-1"
        )
        while True:
            async with transaction(self.engine) as connection:
                for claimed in await claims.claim_runs(connection, asked):
                    return claimed

    async def succeed(self, run: ClaimedRun, *nodes: str) -> None:
        """End a run well, its nodes done."""
        await self._finish(run, RunStatus.SUCCEEDED, AttemptOutcome.SUCCEEDED, nodes=[_done(run, n) for n in nodes])

    async def fail(self, run: ClaimedRun, node: str, message: str, *, kind: FailureKind = FailureKind.ERROR) -> None:
        """End a run for good, because of a node."""
        error = _error(node, message)
        nodes = [_failed(run, node, error)]
        await self._finish(run, RunStatus.FAILED, AttemptOutcome.FAILED, kind=kind, error=error, nodes=nodes)

    async def retry(self, run: ClaimedRun, node: str, message: str, *, delay: float = 0.0) -> None:
        """Queue a run again, because of a node."""
        error = _error(node, message)
        nodes = [_done(run, "before"), _failed(run, node, error)]
        await self._finish(
            run, RunStatus.QUEUED, AttemptOutcome.RETRIED, delay=delay, error=error, nodes=nodes, spent=1
        )

    async def die(self, how: str = "was killed by SIGKILL") -> None:
        """End the worker as if its process had died, and queue its runs again."""
        async with transaction(self.engine) as connection:
            await leases.end_lease(connection, self.lease_id)
        async with transaction(self.engine) as connection:
            await leases.free_runs(connection, [self.lease_id], died=True, death=Death(how=how, own=True), wait=True)

    async def cancel(self, run_id: UUID, reason: str) -> None:
        """Ask for the end of a run; a queued one ends at once."""
        async with transaction(self.engine) as connection:
            await cancels.request_cancel(connection, tenant=TENANT, run_ids=[run_id], reason=reason)

    async def replay(self, made: Made, origin: UUID, *, kept: Sequence[str] = (), node: str | None = None) -> UUID:
        """Make the run that stands in for another."""
        asked = replays.Replay(
            origin=origin,
            run_id=new_id(),
            pipeline_version=2,
            queue="default",
            traceparent=traceparent(REPLAY_TRACE),
        )
        async with transaction(self.engine) as connection:
            assert await replays.take_turn(connection, tenant=TENANT, event_id=made.event_id)
            begin = replays.From(node=node, kept=frozenset(kept))
            made_runs = await replays.replay_runs(connection, tenant=TENANT, replays=[asked], begin=begin)
        return made_runs[origin]

    async def _finish(
        self,
        run: ClaimedRun,
        status: RunStatus,
        outcome: AttemptOutcome,
        *,
        nodes: Sequence[outcomes.NodeWrite],
        kind: FailureKind | None = None,
        error: str | None = None,
        delay: float = 0.0,
        spent: int = 0,
    ) -> None:
        finish = outcomes.Finish(
            tenant=TENANT,
            run_id=run.run_id,
            attempt=run.attempt,
            status=status,
            outcome=outcome,
            reason=QueueReason.RETRY if status is RunStatus.QUEUED else None,
            delay=delay,
            kind=kind,
            error=error,
            spent=spent,
            nodes=tuple(nodes),
        )
        async with transaction(self.engine) as connection:
            assert await outcomes.finish_runs(connection, [finish])


def _error(node: str, message: str) -> str:
    return json.dumps({"type": "RuntimeError", "message": message, "node": node, "traceback": "Traceback …"})


def _done(run: ClaimedRun, node: str) -> outcomes.NodeWrite:
    return _node(run, node, NodeStatus.SUCCEEDED, output="1")


def _failed(run: ClaimedRun, node: str, error: str) -> outcomes.NodeWrite:
    return _node(run, node, NodeStatus.FAILED, error=error)


def _node(
    run: ClaimedRun, node: str, status: NodeStatus, *, output: str | None = None, error: str | None = None
) -> outcomes.NodeWrite:
    result = NodeResult(
        node=node,
        item=0,
        attempt=run.attempt,
        status=status,
        output=None,
        error=None,
        started_at=datetime.now(UTC),
        duration_seconds=0.002,
        span_id=None,
    )
    return outcomes.NodeWrite(
        tenant=TENANT, run_id=run.run_id, attempt=run.attempt, result=result, output=output, error=error
    )
