import pytest

from api.pace import Pace


def paced(*, flush: float, events: int, lanes: int = 1, rows: int = 10) -> Pace:
    """A pace after many flushes one after another."""
    pace, now = Pace(lanes=lanes, rows=rows), 0.0
    for _ in range(100):
        pace.end(pace.begin(now), now + flush, stored=events)
        now += flush
    return pace


def test_nobody_waits_while_a_lane_is_free() -> None:
    pace = Pace(lanes=2, rows=10)
    pace.end(pace.begin(0.0), 9.0, stored=1)
    pace.begin(9.0)
    assert pace.wait(20.0, waiting=0) == 0.0


def test_who_waits_does_so_for_what_is_before() -> None:
    pace = paced(flush=0.1, events=10)
    pace.begin(100.0)
    assert pace.wait(100.0, waiting=40) == pytest.approx(0.4, rel=0.01)


def test_small_flushes_of_an_idle_time_do_not_hide_that_large_ones_take_no_longer() -> None:
    """A flush of one event in 5 ms is 200 events a second, and a crowd of a thousand shares a few flushes."""
    pace = paced(flush=0.005, events=1, rows=256)
    pace.begin(100.0)
    assert pace.wait(100.0, waiting=1000) < 0.03


def test_flushes_that_a_busy_loop_makes_late_are_no_wait_while_much_is_stored() -> None:
    pace = paced(flush=2.0, events=8000, rows=256)
    pace.begin(300.0)
    assert pace.wait(300.0, waiting=2000) == pytest.approx(0.5, rel=0.01)


def test_a_flush_that_stands_still_is_known_before_it_ends() -> None:
    pace = paced(flush=0.005, events=100)
    pace.begin(100.0)
    assert pace.wait(103.0, waiting=0) == 3.0


def test_what_postgresql_was_away_for_tells_nothing_of_the_next() -> None:
    pace = Pace(lanes=1, rows=10)
    pace.end(pace.begin(0.0), 60.0, stored=0)
    pace.begin(60.0)
    assert pace.wait(60.0, waiting=5) == 0.0


def test_time_in_which_there_was_nothing_to_store_is_no_work() -> None:
    pace = Pace(lanes=1, rows=1)
    for second in range(20):
        pace.end(pace.begin(float(second)), second + 0.1, stored=1)
    pace.begin(20.0)
    assert pace.wait(20.0, waiting=3) == pytest.approx(0.3, rel=0.01)


def test_flushes_that_begin_at_once_are_told_apart() -> None:
    pace = Pace(lanes=2, rows=10)
    first, second = pace.begin(1.0), pace.begin(1.0)
    assert first != second
    pace.end(first, 2.0, stored=1)
    assert pace.wait(2.0, waiting=0) == 0.0
