import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from events import QueueReason
from observability.tracing import new_span_id
from storage.attempts import errors_by_node
from storage.claims import Claim, claim_runs, defer_runs, done_nodes, release_runs
from storage.engine import DatabaseUnavailable
from storage.records import ClaimedRun, NodeResult
from storage.worker_processes import previous_spans
from worker.database import Database
from worker.held import Claimed, HeldRuns
from worker.journal import record_of
from worker.lease import LeaseKeeper
from worker.message import Message
from worker.outcomes import UNKNOWN_PIPELINE_DELAY

_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    done: dict[UUID, list[NodeResult]] = field(default_factory=dict)
    errors: dict[UUID, dict[str | None, int]] = field(default_factory=dict)
    spans: dict[UUID, str] = field(default_factory=dict)


_NOTHING: Final = _Earlier()


class Claims:
    """Asks PostgreSQL for runs, and says there what becomes of those that are not taken."""

    def __init__(self, database: Database, keeper: LeaseKeeper, held: HeldRuns) -> None:
        self._database = database
        self._keeper = keeper
        self._held = held

    async def claim(self, message: Message, run_ids: Sequence[UUID]) -> list[Claimed]:
        """Claim those of the runs that are due and nobody's; waits for a lease and for PostgreSQL.

        Runs that a claim took whose answer was lost are found by ``GivingBack.strays``; those whose lease was lost
        meanwhile are handed back with it, and asked for anew.
        """
        spans = {run_id: new_span_id() for run_id in run_ids}
        while True:
            lease_id = await self._keeper.held()
            claim = Claim(
                tenant=message.tenant,
                run_ids=list(spans),
                span_ids=list(spans.values()),
                lease_id=lease_id,
                task_id=message.task_id,
            )
            try:
                claimed = await self._ask(claim)
            except DatabaseUnavailable:
                await asyncio.sleep(_PAUSE)
                continue
            if self._keeper.lease_id == lease_id:
                return claimed

    async def _ask(self, claim: Claim) -> list[Claimed]:
        async with self._database.statement() as connection:
            runs = await claim_runs(connection, claim)
        if all(run.attempt == 1 and run.replay_from is None for run in runs):
            earlier = _NOTHING
        else:
            earlier = await self._earlier(claim.tenant, runs)
        spans = dict(zip(claim.run_ids, claim.span_ids, strict=True))

        def complete(run: ClaimedRun) -> Claimed:
            return Claimed(
                run=run,
                span_id=spans[run.run_id] or new_span_id(),
                done={result.node: record_of(result) for result in earlier.done.get(run.run_id, ())},
                errors_by_node=earlier.errors.get(run.run_id, {}),
                previous_span_id=earlier.spans.get(run.run_id),
            )

        return [complete(run) for run in runs]

    async def _earlier(self, tenant: str, runs: Sequence[ClaimedRun]) -> _Earlier:
        """Read what earlier attempts left; waits for PostgreSQL, since the runs are held already."""
        again = [run.run_id for run in runs if run.attempt > 1]
        given = [run.run_id for run in runs if run.attempt > 1 or run.replay_from is not None]
        failed = [run.run_id for run in runs if run.errors]
        while True:
            try:
                async with self._database.statement() as connection:
                    return _Earlier(
                        done=await done_nodes(connection, tenant=tenant, run_ids=given),
                        errors=await errors_by_node(connection, tenant=tenant, run_ids=failed) if failed else {},
                        spans=await previous_spans(connection, tenant=tenant, run_ids=again) if again else {},
                    )
            except DatabaseUnavailable:
                await asyncio.sleep(_PAUSE)

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
