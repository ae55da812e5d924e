import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from api.group_commit import GroupCommit, split_refused
from api.pending import NotStored, OutcomeUnknown
from events import new_id
from observability.metrics import null_metrics
from settings import ApiSettings
from storage.batching import Overloaded
from storage.engine import DatabaseUnavailable
from storage.records import NewEvent, NewRun, StoredEvent


def new_event(ce_id: str = "1", data: str = "{}") -> NewEvent:
    return NewEvent(
        tenant="default",
        event_id=new_id(),
        source="/test",
        ce_id=ce_id,
        type="a",
        subject=None,
        time=None,
        data=data,
        content_hash=b"",
        traceparent=None,
        runs=(NewRun(run_id=new_id(), pipeline="p", pipeline_version=1, queue="default"),),
    )


def stored(event: NewEvent, *, created: bool = True) -> StoredEvent:
    return StoredEvent(
        created=created,
        event_id=event.event_id,
        content_hash=b"",
        received_at=datetime.now(UTC),
        traceparent=None,
        runs=(),
    )


class FakeStore:
    """A table in memory that does what the test tells it before each try."""

    def __init__(self) -> None:
        self.tries: list[list[NewEvent]] = []
        self.rows: dict[str, NewEvent] = {}
        self.on_try: Callable[[int], Any] = lambda _number: None
        self.after_commit: Callable[[int], Any] = lambda _number: None

    async def __call__(
        self, events: Sequence[NewEvent], *, within: float, before_commit: Callable[[], None]
    ) -> list[StoredEvent]:
        assert within > 0
        self.tries.append(list(events))
        await _maybe(self.on_try(len(self.tries)))
        before_commit()
        found = []
        for event in events:
            is_new = event.ce_id not in self.rows
            found.append(stored(self.rows.setdefault(event.ce_id, event), created=is_new))
        await _maybe(self.after_commit(len(self.tries)))
        return found


async def _maybe(result: Any) -> None:
    if asyncio.iscoroutine(result):
        await result


def make(store: FakeStore, on_created: Callable[[], None] = lambda: None, **settings: Any) -> GroupCommit:
    commits = GroupCommit(store, ApiSettings(**settings), metrics=null_metrics(), on_created=on_created)
    commits.start()
    return commits


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("position", [0, 0.5, 1])
async def test_a_refused_item_alone_bears_it(size: int, position: float) -> None:
    bad = round((size - 1) * position)

    async def write(items: Sequence[int]) -> list[str]:
        if bad in items:
            raise ValueError(bad)
        return [str(item) for item in items]

    results = await split_refused(range(size), write)
    assert isinstance(results[bad], ValueError)
    assert [result for index, result in enumerate(results) if index != bad] == [
        str(item) for item in range(size) if item != bad
    ]


async def test_a_whole_crowd_of_refused_items_ends() -> None:
    async def write(_items: Sequence[int]) -> list[str]:
        raise ValueError

    assert [type(result) for result in await split_refused(range(9), write)] == [ValueError] * 9


async def test_a_database_that_is_away_is_not_asked_in_halves() -> None:
    calls = 0

    async def write(_items: Sequence[int]) -> list[str]:
        nonlocal calls
        calls += 1
        raise DatabaseUnavailable

    assert len(await split_refused(range(9), write)) == 9
    assert calls == 1


async def test_relays_are_woken_for_what_is_new_only() -> None:
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    store = FakeStore()
    run_summary: Any = object()
    commits = GroupCommit(_with_runs(store, run_summary), ApiSettings(), metrics=null_metrics(), on_created=wake)
    commits.start()
    event = new_event()
    await commits.store(event)
    assert woken == 1
    await commits.store(event._replace(event_id=new_id()))
    assert woken == 1
    await commits.close()


def _with_runs(store: FakeStore, run: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> list[StoredEvent]:
        return [found._replace(runs=(run,)) for found in await store(*args, **kwargs)]

    return call


async def test_a_lost_connection_is_tried_again_within_the_deadline() -> None:
    store = FakeStore()
    store.on_try = lambda number: fail(DatabaseUnavailable()) if number < 3 else None
    commits = make(store)
    assert (await commits.store(new_event())).created
    assert len(store.tries) == 3
    await commits.close()


async def test_what_our_own_lost_commit_stored_counts_as_created() -> None:
    store = FakeStore()
    store.after_commit = lambda number: fail(DatabaseUnavailable()) if number == 1 else None
    commits = make(store)
    assert (await commits.store(new_event())).created
    assert len(store.tries) == 2
    await commits.close()


async def test_a_database_that_stays_away_ends_at_the_deadline_as_not_stored() -> None:
    store = FakeStore()
    store.on_try = lambda _number: fail(DatabaseUnavailable())
    commits = make(store, accept_timeout=0.2)
    began = asyncio.get_running_loop().time()
    with pytest.raises(NotStored):
        await commits.store(new_event())
    assert asyncio.get_running_loop().time() - began < 1.5
    await commits.close()


async def test_a_commit_without_an_answer_is_an_unknown_outcome() -> None:
    store = FakeStore()
    store.after_commit = lambda _number: fail(DatabaseUnavailable())
    commits = make(store, accept_timeout=0.2)
    with pytest.raises(OutcomeUnknown):
        await commits.store(new_event())
    await commits.close()


async def test_a_time_out_in_mid_commit_is_an_unknown_outcome_and_before_it_is_none() -> None:
    store = FakeStore()
    store.after_commit = lambda _number: asyncio.sleep(0.5)
    commits = make(store, accept_timeout=0.1, flushers=1)
    first, second = await asyncio.gather(
        commits.store(new_event("1")), _later(commits, new_event("2")), return_exceptions=True
    )
    assert isinstance(first, OutcomeUnknown)
    assert isinstance(second, NotStored)
    await commits.close()
    assert list(store.rows) == ["1"]


async def test_who_was_told_that_nothing_was_stored_is_not_stored_by_a_slow_flush() -> None:
    """The flush goes on for the neighbour whose time is not over yet."""
    store, gates = FakeStore(), [asyncio.Event() for _ in range(3)]
    store.on_try = lambda number: gates[number - 1].wait()
    commits = make(store, flushers=1)
    before = await _waiting(commits, "before", timeout=30.0)
    early = await _waiting(commits, "early", timeout=0.5)
    late = await _waiting(commits, "late", timeout=30.0)
    gates[0].set()
    with pytest.raises(NotStored):
        await early
    gates[1].set()
    gates[2].set()
    assert (await before).created
    assert (await late).created
    assert [[event.ce_id for event in events] for events in store.tries] == [["before"], ["early", "late"], ["late"]]
    assert list(store.rows) == ["before", "late"]
    await commits.close()


async def test_a_flush_that_everybody_has_given_up_stores_nothing() -> None:
    store = FakeStore()
    store.on_try = lambda _number: asyncio.sleep(0.3)
    commits = make(store, flushers=1, accept_timeout=0.1)
    with pytest.raises(NotStored):
        await commits.store(new_event())
    await commits.close()
    assert not store.rows


async def _waiting(commits: GroupCommit, ce_id: str, *, timeout: float) -> "asyncio.Task[StoredEvent]":  # noqa: ASYNC109 - a deadline of the event's own
    """Hand in an event with a deadline of its own, as requests have that came at different times."""
    commits._timeout = timeout
    storing = asyncio.create_task(commits.store(new_event(ce_id)))
    for _ in range(3):
        await asyncio.sleep(0)
    return storing


async def _later(commits: GroupCommit, event: NewEvent) -> StoredEvent:
    await asyncio.sleep(0.01)
    return await commits.store(event)


async def test_who_left_before_the_flush_is_left_out() -> None:
    store, gate = FakeStore(), asyncio.Event()
    store.on_try = lambda number: gate.wait() if number == 1 else None
    commits = make(store, flushers=1)
    first = asyncio.create_task(commits.store(new_event("1")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone = asyncio.create_task(commits.store(new_event("2")))
    stays = asyncio.create_task(commits.store(new_event("3")))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    await asyncio.gather(first, stays)
    assert list(store.rows) == ["1", "3"]
    await commits.close()


async def test_a_dead_flusher_is_replaced() -> None:
    store = FakeStore()
    store.on_try = lambda number: fail_hard() if number == 1 else None
    commits = make(store, flushers=1)
    with pytest.raises(NotStored):
        await commits.store(new_event("1"))
    assert (await commits.store(new_event("2"))).created
    await commits.close()


def fail_hard() -> None:
    raise asyncio.CancelledError


async def test_more_than_may_wait_is_refused_at_once_in_rows_and_in_bytes() -> None:
    store, gate = FakeStore(), asyncio.Event()
    store.on_try = lambda _number: gate.wait()
    commits = make(store, flushers=1, flush_queue_max=2, flush_max_bytes=10_000, max_body_bytes=10_000)
    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(commits.store(new_event(str(number)))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await commits.store(new_event("large", "x" * 200_000))
    with pytest.raises(Overloaded):
        await commits.store(new_event("one too many"))
    gate.set()
    assert all(found.created for found in await asyncio.gather(*tasks))
    await commits.close()


async def test_closing_stores_what_waits() -> None:
    store = FakeStore()
    commits = make(store)
    tasks = [asyncio.create_task(commits.store(new_event(str(number)))) for number in range(50)]
    await asyncio.sleep(0)
    await commits.close()
    assert all(found.created for found in await asyncio.gather(*tasks))


async def test_what_comes_together_waits_as_one_and_is_cut_where_a_flush_ends() -> None:
    store, gate = FakeStore(), asyncio.Event()
    store.on_try = lambda number: gate.wait() if number == 1 else None
    commits = make(store, flushers=1, flush_max_rows=4, flush_max_bytes=5_000)
    first = asyncio.create_task(commits.store(new_event("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sizes = {3: 4_000, 6: 2_500}
    sent = [new_event(str(number), "x" * sizes.get(number, 1)) for number in range(12)]
    storing = asyncio.create_task(commits.store_all(sent))
    await asyncio.sleep(0)
    assert commits.waiting == 12
    gate.set()
    found = await storing
    assert [event.event_id for event in sent] == [one.event_id for one in found if isinstance(one, StoredEvent)]
    together = [[event.ce_id for event in events] for events in store.tries[1:]]
    assert together == [["0", "1", "2"], ["3"], ["4", "5", "6", "7"], ["8", "9", "10", "11"]]
    assert (await first).created
    assert (commits.waiting, commits._bytes) == (0, 0)
    await commits.close()


@pytest.mark.parametrize("bad", [0, 1, 6, 7])
async def test_one_of_many_that_is_refused_fails_alone_among_its_own_and_its_neighbours(bad: int) -> None:
    store, gate = FakeStore(), asyncio.Event()

    def refuse(events: Sequence[NewEvent]) -> None:
        if any(event.data == "bad" for event in events):
            raise ValueError

    store.on_try = lambda number: gate.wait() if number == 1 else refuse(store.tries[-1])
    commits = make(store, flushers=1)
    first = asyncio.create_task(commits.store(new_event("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sent = [new_event(str(number), "bad" if number == bad else "{}") for number in range(8)]
    many, lone = asyncio.create_task(commits.store_all(sent)), asyncio.create_task(commits.store(new_event("lone")))
    await asyncio.sleep(0)
    gate.set()
    found = await many
    assert [isinstance(one, ValueError) for one in found] == [number == bad for number in range(8)]
    assert (await first).created
    assert (await lone).created
    await commits.close()


async def test_of_many_whose_time_is_over_only_those_in_a_commit_are_of_unknown_outcome() -> None:
    """The first half of a refused flush is in mid-commit when the time of all of them is over."""
    store, over = FakeStore(), asyncio.Event()
    store.on_try = lambda number: fail(ValueError()) if number == 1 else None
    store.after_commit = lambda _number: over.wait()
    commits = make(store, flushers=1, accept_timeout=0.1)
    found = await commits.store_all([new_event(str(number)) for number in range(4)])
    assert [type(one) for one in found] == [OutcomeUnknown, OutcomeUnknown, NotStored, NotStored]
    over.set()
    await commits.close()
    assert list(store.rows) == ["0", "1"]


async def test_a_batch_whose_place_ends_in_its_midst_is_stored_up_to_there() -> None:
    store, gate = FakeStore(), asyncio.Event()
    store.on_try = lambda _number: gate.wait()
    commits = make(store, flushers=1, flush_queue_max=5, flush_max_rows=2)
    first = asyncio.create_task(commits.store(new_event("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    storing = asyncio.create_task(commits.store_all([new_event(str(number)) for number in range(7)]))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await commits.store(new_event("one too many"))
    gate.set()
    assert [type(one) for one in await storing] == [StoredEvent] * 5 + [Overloaded] * 2
    assert (await first).created
    await commits.close()
