import json
from datetime import UTC, datetime

import pytest

from events import (
    AttemptOutcome,
    AwaitedEvent,
    Cancelled,
    ErrorInfo,
    Event,
    Failed,
    FailureKind,
    Outcome,
    QueueReason,
    Retry,
    RunStatus,
    Succeeded,
    Suspended,
    new_id,
)
from observability.metrics import RunOutcome
from storage.records import ClaimedRun
from storage.wait_writes import WaitWrite
from worker.outcomes import finish_of, given_back

ERROR = ErrorInfo(type="E", message="m", node="n", traceback="t")


def claimed() -> ClaimedRun:
    event = Event(event_id=new_id(), ce_id="1", type="t", data={}, received_at=datetime.now(UTC))
    return ClaimedRun(
        run_id=new_id(),
        event=event,
        pipeline="p",
        pipeline_version=1,
        attempt=2,
        errors=1,
        deaths=0,
        traceparent=None,
        queue_wait=0.0,
    )


@pytest.mark.parametrize(
    ("outcome", "status", "attempt", "spent"),
    [
        (Succeeded(), RunStatus.SUCCEEDED, AttemptOutcome.SUCCEEDED, 0),
        (Retry(delay=3.0, error=ERROR), RunStatus.QUEUED, AttemptOutcome.RETRIED, 1),
        (Failed(kind=FailureKind.TIMEOUT, error=ERROR), RunStatus.FAILED, AttemptOutcome.FAILED, 1),
        (Cancelled(reason="asked"), RunStatus.CANCELLED, AttemptOutcome.CANCELLED, 0),
    ],
)
def test_outcome_is_written_as_what_it_means(
    outcome: Outcome, status: RunStatus, attempt: AttemptOutcome, spent: int
) -> None:
    run = claimed()
    finish = finish_of(run, outcome)
    assert (finish.run_id, finish.attempt) == (run.run_id, 2)
    assert (finish.status, finish.outcome, finish.spent) == (status, attempt, spent)
    assert RunOutcome(finish.outcome.value)


def test_retry_says_when_and_why() -> None:
    finish = finish_of(claimed(), Retry(delay=3.0, error=ERROR))
    assert (finish.delay, finish.reason) == (3.0, QueueReason.RETRY)
    assert json.loads(finish.error or "") == {"type": "E", "message": "m", "node": "n", "traceback": "t"}


AWAITED = AwaitedEvent(type="t", path="subject", key="k")


@pytest.mark.parametrize(
    ("reason", "awaited", "waits"),
    [(QueueReason.WAITING, AWAITED, True), (QueueReason.SLEEPING, None, True), (QueueReason.LIMITED, None, False)],
)
def test_a_try_that_is_put_off_costs_nothing_and_begins_the_wait_that_it_names(
    reason: QueueReason, awaited: AwaitedEvent | None, waits: bool
) -> None:
    run = claimed()
    finish = finish_of(run, Suspended(node="n", reason=reason, delay=9.0, awaited=awaited))
    assert (finish.status, finish.outcome, finish.reason) == (RunStatus.QUEUED, AttemptOutcome.SUSPENDED, reason)
    assert (finish.delay, finish.spent, finish.error) == (9.0, 0, None)
    assert RunOutcome(finish.outcome.value)
    wait = WaitWrite(tenant="default", run_id=run.run_id, attempt=2, node="n", seconds=9.0, awaited=awaited)
    assert finish.wait == (wait if waits else None)


def test_a_run_is_taken_up_again_when_its_lifetime_ends_though_its_wait_lasts_longer() -> None:
    finish = finish_of(claimed(), Suspended(node="n", reason=QueueReason.SLEEPING, delay=9.0), expires_in=4.0)
    assert finish.delay == 4.0
    assert finish.wait is not None
    assert finish.wait.seconds == 9.0


def test_giving_back_costs_nothing_of_the_error_budget() -> None:
    finish = given_back(claimed(), QueueReason.HANDED_BACK)
    assert (finish.status, finish.outcome, finish.spent, finish.error) == (
        RunStatus.QUEUED,
        AttemptOutcome.HANDED_BACK,
        0,
        None,
    )
