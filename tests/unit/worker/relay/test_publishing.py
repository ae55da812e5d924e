from typing import Any

import pytest

from storage.records import DueRun
from worker.relay.publishing import _shares
from worker.relay.taking import Take


def run() -> Any:
    return DueRun.__new__(DueRun)


@pytest.mark.parametrize(
    ("take", "gathers"),
    [
        (Take(), False),
        (Take(runs=[run()]), False),
        (Take(runs=[run()], sent_before=3), True),
        (Take(runs=[run(), run()]), True),
        (Take(runs=[run(), run()], full=True, more=True), False),
        (Take(runs=[run(), run()], more=True), False),
        (Take(sent_before=3), False),
    ],
)
def test_a_pass_is_followed_at_once_but_where_runs_come_faster_than_they_are_claimed(
    take: Take, *, gathers: bool
) -> None:
    assert _shares(take) is gathers
