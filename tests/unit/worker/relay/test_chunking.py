from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from events import new_id
from storage.records import DueRun
from worker.relay.chunking import message_size, room_in_window, split

NAMES = st.sampled_from(["a", "b", "c"])
RUNS = st.lists(
    st.builds(
        DueRun,
        tenant=NAMES,
        run_id=st.builds(new_id),
        pipeline=NAMES,
        queue=st.just("default"),
        traceparent=st.none(),
    ),
    max_size=200,
)


@given(runs=RUNS, size=st.integers(1, 60))
def test_every_run_is_in_exactly_one_message_of_its_own_tenant_and_pipeline(runs: list[DueRun], size: int) -> None:
    messages = list(split(runs, size=size))
    assert Counter(run.run_id for message in messages for run in message.runs) == Counter(run.run_id for run in runs)
    for message in messages:
        assert 1 <= len(message.runs) <= size
        assert {(run.tenant, run.pipeline, run.queue) for run in message.runs} == {
            (message.tenant, message.pipeline, message.queue)
        }


@given(runs=RUNS, size=st.integers(1, 60))
def test_only_the_last_message_of_a_group_may_be_short(runs: list[DueRun], size: int) -> None:
    messages = list(split(runs, size=size))
    short = Counter((message.tenant, message.pipeline) for message in messages if len(message.runs) < size)
    assert all(count == 1 for count in short.values())


@given(waiting=st.integers(0, 100_000), single_below=st.integers(1, 500), max_runs=st.integers(1, 500))
def test_the_size_of_messages_is_within_its_bounds(waiting: int, single_below: int, max_runs: int) -> None:
    size = message_size(waiting, single_below=single_below, max_runs=max_runs)
    assert 1 <= size <= max_runs
    if waiting <= single_below:
        assert size == 1
    if waiting >= single_below * max_runs:
        assert size == max_runs


@given(waiting=st.integers(0, 100_000), single_below=st.integers(1, 500), max_runs=st.integers(1, 500))
def test_the_size_of_messages_grows_with_the_backlog_and_without_a_step(
    waiting: int, single_below: int, max_runs: int
) -> None:
    size = message_size(waiting, single_below=single_below, max_runs=max_runs)
    assert 0 <= message_size(waiting + 1, single_below=single_below, max_runs=max_runs) - size <= 1


@given(sent=st.integers(0, 5000), window=st.integers(1, 5000), backlog=st.booleans())
def test_the_window_is_never_exceeded(sent: int, window: int, backlog: bool) -> None:
    room = room_in_window(sent, window=window, backlog=backlog)
    assert room >= 0
    assert room == 0 or sent + room == window


@given(window=st.integers(1, 5000), backlog=st.booleans())
def test_an_empty_window_is_filled(window: int, backlog: bool) -> None:
    assert room_in_window(0, window=window, backlog=backlog) == window


def test_under_a_backlog_a_full_window_is_refilled_by_the_eighth() -> None:
    assert room_in_window(1900, window=2000, backlog=True) == 0
    assert room_in_window(1750, window=2000, backlog=True) == 250
    assert room_in_window(1900, window=2000, backlog=False) == 100
