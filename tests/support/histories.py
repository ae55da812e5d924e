from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import AttemptOutcome, FailureKind, NodeStatus, RunStatus, new_id
from storage import claims, ingest, leases, outcomes
from storage.engine import transaction
from storage.records import NewEvent, NewRun, NodeResult
from tests.support.driver import Fetching

TENANT = "default"
_HOW = {
    RunStatus.SUCCEEDED: (AttemptOutcome.SUCCEEDED, None),
    RunStatus.FAILED: (AttemptOutcome.FAILED, FailureKind.ERROR),
    RunStatus.CANCELLED: (AttemptOutcome.CANCELLED, None),
}


async def an_event(engine: AsyncEngine, *statuses: RunStatus, days: float = 40.0) -> UUID:
    """Store an event with a run in each of the states, with an attempt and a node; what ended, did so days ago."""
    runs = tuple(
        NewRun(run_id=new_id(), pipeline=f"p{number}", pipeline_version=1, queue="default")
        for number in range(len(statuses))
    )
    event_id = new_id()
    new = NewEvent(
        tenant=TENANT,
        event_id=event_id,
        source="test",
        ce_id=str(event_id),
        type="t",
        subject=None,
        time=None,
        data="{}",
        content_hash=b"x" * 32,
        traceparent=None,
        runs=runs,
    )
    async with transaction(engine) as connection:
        await ingest.store_events(Fetching(connection), [new])
    for run, status in zip(runs, statuses, strict=True):
        if status is not RunStatus.QUEUED:
            await _run(engine, run.run_id, status)
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                "UPDATE runs SET finished_at = now() - :days * interval '1 day' "
                "WHERE finished_at IS NOT NULL AND event_id = :event_id"
            ),
            {"days": days, "event_id": event_id},
        )
    return event_id


async def _run(engine: AsyncEngine, run_id: UUID, status: RunStatus) -> None:
    lease_id = new_id()
    async with transaction(engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="w", seconds=600.0)
        asked = claims.Claim(tenant=TENANT, run_ids=[run_id], span_ids=[None], lease_id=lease_id, task_id=None)
        (claimed,) = await claims.claim_runs(connection, asked)
    if status is RunStatus.RUNNING:
        return
    node = outcomes.NodeWrite(
        tenant=TENANT,
        run_id=run_id,
        attempt=1,
        output="1",
        error=None,
        result=NodeResult(
            node="n",
            item=0,
            attempt=1,
            status=NodeStatus.SUCCEEDED,
            output=None,
            error=None,
            started_at=claimed.event.received_at,
            duration_seconds=0.1,
            span_id=None,
        ),
    )
    outcome, kind = _HOW[status]
    ending = outcomes.Finish(
        tenant=TENANT, run_id=run_id, attempt=1, status=status, outcome=outcome, kind=kind, nodes=(node,)
    )
    async with transaction(engine) as connection:
        assert await outcomes.finish_runs(connection, [ending])
