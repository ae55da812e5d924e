import itertools

import pytest

from events import FINAL_STATUSES, EventStatus, RunStatus, event_status, may_move


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_nothing_leaves_a_final_status(status: RunStatus) -> None:
    assert not any(may_move(status, other) for other in RunStatus)


def test_a_queued_run_is_claimed_before_it_succeeds() -> None:
    assert may_move(RunStatus.QUEUED, RunStatus.RUNNING)
    assert not may_move(RunStatus.QUEUED, RunStatus.SUCCEEDED)


def test_every_status_but_queued_is_reached_from_another() -> None:
    reached = {new for old, new in itertools.permutations(RunStatus, 2) if may_move(old, new)}
    assert reached == set(RunStatus)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], EventStatus.UNROUTED),
        ([RunStatus.QUEUED, RunStatus.QUEUED], EventStatus.QUEUED),
        ([RunStatus.QUEUED, RunStatus.SUCCEEDED], EventStatus.RUNNING),
        ([RunStatus.RUNNING, RunStatus.FAILED], EventStatus.RUNNING),
        ([RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED], EventStatus.FAILED),
        ([RunStatus.SUCCEEDED, RunStatus.CANCELLED], EventStatus.CANCELLED),
        ([RunStatus.SUCCEEDED, RunStatus.SUCCEEDED], EventStatus.SUCCEEDED),
    ],
)
def test_an_events_status_is_told_by_its_runs(runs: list[RunStatus], expected: EventStatus) -> None:
    assert event_status(runs) is expected
    if runs:
        assert event_status(runs, awaited=True) is expected


def test_an_event_that_no_pipeline_takes_is_awaited_where_runs_may_wait_for_it() -> None:
    assert event_status([], awaited=True) is EventStatus.AWAITED
