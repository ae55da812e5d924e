from datetime import UTC, datetime

from events import new_id
from storage.due import Taken
from worker.relay.ledger import Ledger


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(count: int) -> Taken:
    return Taken(at=datetime.now(UTC), keys=tuple(("default", new_id()) for _ in range(count)))


def test_what_was_sent_is_ripe_when_it_is_old_enough_and_comes_out_once() -> None:
    clock = Clock()
    ledger = Ledger(age=5.0, clock=clock)
    early, late = taken(3), taken(2)
    ledger.add("q", early, since=100.0)
    ledger.add("q", late, since=103.0)
    assert ledger.ripe() == []
    clock.now = 105.0
    assert ledger.ripe() == [early]
    assert ledger.ripe() == []
    assert ledger.ripe(everything=True) == [late]
    assert len(ledger) == 0


def test_much_comes_out_in_portions_and_nothing_is_left_behind() -> None:
    clock = Clock()
    ledger = Ledger(age=5.0, clock=clock)
    everything = [taken(900) for _ in range(10)]
    for number, one in enumerate(everything):
        ledger.add(f"q{number % 2}", one, since=100.0)
    clock.now = 200.0
    found: list[Taken] = []
    while ripe := ledger.ripe():
        assert sum(len(one.keys) for one in ripe) < 3000
        found += ripe
    assert sorted(key for one in found for key in one.keys) == sorted(key for one in everything for key in one.keys)


def test_an_empty_window_makes_what_was_sent_before_forgotten_and_no_more() -> None:
    clock = Clock()
    ledger = Ledger(age=5.0, clock=clock)
    before, other, after = taken(1), taken(1), taken(1)
    ledger.add("q", before, since=100.0)
    ledger.add("other", other, since=100.0)
    ledger.add("q", after, since=102.0)
    ledger.forget("q", before=101.0)
    assert set(ledger.ripe(everything=True)) == {other, after}


def test_what_was_taken_before_the_oldest_unclaimed_run_is_claimed_and_forgotten() -> None:
    ledger = Ledger(age=5.0, clock=Clock())
    claimed, other, waiting = taken(1), taken(1), taken(1)
    for queue, one in (("q", claimed), ("other", other), ("q", waiting)):
        ledger.add(queue, one, since=100.0)
    ledger.forget_claimed("q", oldest=waiting.at)
    assert set(ledger.ripe(everything=True)) == {other, waiting}
