import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from events import QueueReason, Transient
from observability.metrics import Metrics, WaitEnd, null_metrics
from observability.tracing import new_span_id
from pipelines.arrivals import WaitState
from storage.attempts import errors_by_node
from storage.batching import Batcher
from storage.claims import Claim, claim_together, defer_runs, done_nodes, release_runs
from storage.engine import DatabaseUnavailable
from storage.records import ClaimedRun, NodeResult
from storage.waits import Waited, take_last_look, waits_of
from storage.worker_processes import previous_spans
from worker.database import Database
from worker.held import Claimed, HeldRuns
from worker.journal import record_of
from worker.lease import LeaseKeeper
from worker.message import Message
from worker.outcomes import UNKNOWN_PIPELINE_DELAY

_PAUSE: Final = 0.5
_MOST_MESSAGES: Final = 50
_MOST_RUNS: Final = 500
_MOST_WAITING: Final = 100_000
_WRITERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    done: dict[UUID, list[NodeResult]] = field(default_factory=dict)
    errors: dict[UUID, dict[str | None, int]] = field(default_factory=dict)
    spans: dict[UUID, str] = field(default_factory=dict)
    waits: dict[UUID, dict[str, Waited]] = field(default_factory=dict)


_NOTHING: Final = _Earlier()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    message: Message
    spans: dict[UUID, str]


class _NoLease(Transient):
    """There is no lease to claim under."""


class Claims:
    """Asks PostgreSQL for runs, and says there what becomes of those that are not taken."""

    def __init__(
        self, database: Database, keeper: LeaseKeeper, held: HeldRuns, *, metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics or null_metrics()
        self._database = database
        self._keeper = keeper
        self._held = held
        self._batcher: Batcher[_Asked, tuple[UUID, list[ClaimedRun]]] = Batcher(
            self._claim_together,
            max_items=_MOST_MESSAGES,
            max_waiting=_MOST_WAITING,
            max_bytes=_MOST_RUNS,
            writers=_WRITERS,
        )

    def start(self) -> None:
        """Begin to claim, in the running loop."""
        self._batcher.start()

    async def close(self) -> None:
        """Make the claims that wait, then stop."""
        await self._batcher.close()

    async def claim(self, message: Message, run_ids: Sequence[UUID]) -> list[Claimed]:
        """Claim those of the runs that are due and nobody's; waits for a lease and for PostgreSQL.

        Claims of messages that come together share a statement; one that failed is made alone from then on, so that it
        fails no others. Runs that a claim took whose answer was lost are found by ``GivingBack.strays``; those whose
        lease was lost meanwhile are handed back with it, and asked for anew.

        Raises:
            Exception: what PostgreSQL or the driver says of this claim alone, and what does not pass by itself.

        """
        asked = _Asked(message=message, spans={run_id: new_span_id() for run_id in run_ids})
        alone = False
        while True:
            await self._keeper.held()
            try:
                lease_id, runs = await self._batcher.submit(asked, size=_MOST_RUNS if alone else len(asked.spans))
            except _NoLease:
                continue
            except DatabaseUnavailable:
                alone = True
                await asyncio.sleep(_PAUSE)
                continue
            except Exception:
                if alone:
                    raise
                alone = True
                continue
            claimed = await self._completed(asked, runs)
            if self._keeper.lease_id == lease_id:
                return claimed

    def is_held(self) -> bool:
        """Say whether what was claimed is still ours. Where it no longer is, its tasks are cancelled by now."""
        return self._keeper.lease_id is not None

    async def _claim_together(self, asked: Sequence[_Asked]) -> Sequence[tuple[UUID, list[ClaimedRun]]]:
        lease_id = self._keeper.lease_id
        if lease_id is None:
            raise _NoLease
        claims = [
            Claim(
                tenant=one.message.tenant,
                run_ids=list(one.spans),
                span_ids=list(one.spans.values()),
                lease_id=lease_id,
                task_id=one.message.task_id,
            )
            for one in asked
        ]
        async with self._database.statement() as connection:
            claimed = await claim_together(connection, claims)
        return [(lease_id, runs) for runs in claimed]

    async def _completed(self, asked: _Asked, runs: Sequence[ClaimedRun]) -> list[Claimed]:
        if all(run.attempt == 1 and run.replay_from is None for run in runs):
            earlier = _NOTHING
        else:
            earlier = await self._earlier(asked.message.tenant, runs)
        return [
            Claimed(
                run=run,
                span_id=asked.spans[run.run_id],
                done={(result.node, result.item): record_of(result) for result in earlier.done.get(run.run_id, ())},
                errors_by_node=earlier.errors.get(run.run_id, {}),
                waits={node: _state_of(wait) for node, wait in earlier.waits.get(run.run_id, {}).items()},
                previous_span_id=earlier.spans.get(run.run_id),
            )
            for run in runs
        ]

    async def _earlier(self, tenant: str, runs: Sequence[ClaimedRun]) -> _Earlier:
        """Read what earlier attempts left; waits for PostgreSQL, since the runs are held already."""
        again = [run.run_id for run in runs if run.attempt > 1]
        given = [run.run_id for run in runs if run.attempt > 1 or run.replay_from is not None]
        failed = [run.run_id for run in runs if run.errors]
        while True:
            try:
                async with self._database.statement() as connection:
                    earlier = _Earlier(
                        done=await done_nodes(connection, tenant=tenant, run_ids=given),
                        errors=await errors_by_node(connection, tenant=tenant, run_ids=failed) if failed else {},
                        spans=await previous_spans(connection, tenant=tenant, run_ids=again) if again else {},
                        waits=await waits_of(connection, tenant=tenant, run_ids=again) if again else {},
                    )
                return replace(earlier, waits=await self._after_last_look(tenant, earlier.waits))
            except DatabaseUnavailable:
                await asyncio.sleep(_PAUSE)

    async def _after_last_look(
        self, tenant: str, waits: dict[UUID, dict[str, Waited]]
    ) -> dict[UUID, dict[str, Waited]]:
        """Return the waits as they are once those whose time is over were looked for their event a last time."""
        over = [run_id for run_id, of_run in waits.items() if any(wait.is_over for wait in of_run.values())]
        if not over:
            return waits
        async with self._database.transaction() as connection:
            last = await take_last_look(connection, tenant=tenant, run_ids=over)
            ended = await waits_of(connection, tenant=tenant, run_ids=over)
        self._metrics.waits_ended.labels(by=WaitEnd.EVENT).inc(last.matched)
        self._metrics.waits_ended.labels(by=WaitEnd.TIMEOUT).inc(last.timed_out)
        return waits | ended

    async def defer(self, message: Message) -> None:
        """Leave a message's runs for later, and say why: this code doesn't know their pipeline."""
        async with self._database.transaction() as connection:
            await defer_runs(
                connection,
                tenant=message.tenant,
                run_ids=message.run_ids,
                delay=UNKNOWN_PIPELINE_DELAY,
                reason=QueueReason.UNKNOWN_PIPELINE.value,
            )

    async def release(self, message: Message, run_ids: Sequence[UUID]) -> None:
        """Let runs of a message that ends here be published again at once."""
        async with self._database.transaction(within=1.0) as connection:
            await release_runs(connection, tenant=message.tenant, run_ids=run_ids)


def _state_of(wait: Waited) -> WaitState:
    return WaitState(remaining=wait.remaining, event=wait.event)
