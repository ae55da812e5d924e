import math

from events import (
    AttemptOutcome,
    Cancelled,
    ErrorInfo,
    Failed,
    Outcome,
    QueueReason,
    Retry,
    RunStatus,
    Succeeded,
    Suspended,
)
from storage.limit_writes import LimitsWrite
from storage.outcomes import Finish, NodeWrite
from storage.records import ClaimedRun
from storage.wait_writes import WaitWrite
from worker.journal import error_json, to_json

UNKNOWN_PIPELINE_DELAY = 15.0
"""Seconds until a run whose pipeline this code does not know is looked at again, by whoever does."""


_PUT_OFF = frozenset({QueueReason.WAITING, QueueReason.SLEEPING})


def finish_of(
    run: ClaimedRun, outcome: Outcome, nodes: tuple[NodeWrite, ...] = (), *, expires_in: float = math.inf
) -> Finish:
    """Say how an attempt that came to ``outcome`` is written; a wait lasts no longer than its run may, in seconds."""
    tenant, run_id, attempt = run.event.tenant, run.run_id, run.attempt
    match outcome:
        case Succeeded():
            return Finish(
                tenant=tenant,
                run_id=run_id,
                attempt=attempt,
                status=RunStatus.SUCCEEDED,
                outcome=AttemptOutcome.SUCCEEDED,
                nodes=nodes,
            )
        case Retry(delay=delay, error=error):
            return Finish(
                tenant=tenant,
                run_id=run_id,
                attempt=attempt,
                status=RunStatus.QUEUED,
                outcome=AttemptOutcome.RETRIED,
                reason=QueueReason.RETRY,
                delay=delay,
                error=error_json(error),
                spent=1,
                nodes=nodes,
            )
        case Failed(kind=kind, error=error):
            return Finish(
                tenant=tenant,
                run_id=run_id,
                attempt=attempt,
                status=RunStatus.FAILED,
                outcome=AttemptOutcome.FAILED,
                kind=kind,
                error=error_json(error),
                spent=1,
                nodes=nodes,
            )
        case Suspended(reason=put_off, delay=delay, limits=limits):
            return Finish(
                tenant=tenant,
                run_id=run_id,
                attempt=attempt,
                status=RunStatus.QUEUED,
                outcome=AttemptOutcome.SUSPENDED,
                reason=put_off,
                delay=max(min(delay, expires_in), 0.0),
                nodes=nodes,
                limits=LimitsWrite(tenant=tenant, run_id=run_id, limits=limits) if limits else None,
                wait=_wait_of(run, outcome) if put_off in _PUT_OFF else None,
            )
        case Cancelled(reason=reason):
            return Finish(
                tenant=tenant,
                run_id=run_id,
                attempt=attempt,
                status=RunStatus.CANCELLED,
                outcome=AttemptOutcome.CANCELLED,
                error=to_json({"type": "Cancelled", "message": reason}),
                nodes=nodes,
            )


def _wait_of(run: ClaimedRun, outcome: Suspended) -> WaitWrite:
    return WaitWrite(
        tenant=run.event.tenant,
        run_id=run.run_id,
        attempt=run.attempt,
        node=outcome.node,
        seconds=outcome.delay,
        awaited=outcome.awaited,
    )


def given_back(run: ClaimedRun, reason: QueueReason, *, delay: float = 0.0) -> Finish:
    """Say how an attempt that ends without a result, through no fault of its own, is written."""
    return Finish(
        tenant=run.event.tenant,
        run_id=run.run_id,
        attempt=run.attempt,
        status=RunStatus.QUEUED,
        outcome=AttemptOutcome.HANDED_BACK,
        reason=reason,
        delay=delay,
    )


def error_of(outcome: Outcome) -> ErrorInfo | None:
    """Return the error that an outcome tells of."""
    return outcome.error if isinstance(outcome, Retry | Failed) else None
