import pytest

from api.pace import TICK, Pace


def paced(pace: Pace, *, flush: float, ticks: int) -> Pace:
    """Let a pace see many flushes, one after another."""
    now = 0.0
    for _ in range(100):
        began = pace.begin(now)
        for _ in range(ticks):
            pace.tick()
        now += flush
        pace.end(began, now, stored=True)
    return pace


def test_nobody_waits_while_a_lane_is_free() -> None:
    pace = paced(Pace(lanes=2, rows=10), flush=9.0, ticks=180)
    pace.begin(1000.0)
    assert pace.wait(waiting=0) == 0.0


def test_who_waits_does_so_for_the_flushes_before_and_for_its_own() -> None:
    pace = paced(Pace(lanes=2, rows=10), flush=0.02, ticks=0)
    pace.begin(100.0)
    pace.begin(100.0)
    assert pace.wait(waiting=0) == pytest.approx(0.02)
    assert pace.wait(waiting=60) == pytest.approx(0.08)


def test_a_flush_that_stands_still_is_known_before_it_ends() -> None:
    pace = paced(Pace(lanes=1, rows=10), flush=0.005, ticks=0)
    pace.begin(100.0)
    for _ in range(20):
        pace.tick()
    assert pace.wait(waiting=0) == pytest.approx(20 * TICK)


def test_a_flush_that_a_busy_loop_made_late_is_no_slow_one() -> None:
    pace = paced(Pace(lanes=1, rows=1000), flush=2.0, ticks=3)
    pace.begin(1000.0)
    assert pace.wait(waiting=0) == pytest.approx(4 * TICK)


def test_what_postgresql_was_away_for_tells_nothing_of_the_next() -> None:
    pace = Pace(lanes=1, rows=10)
    began = pace.begin(0.0)
    for _ in range(100):
        pace.tick()
    pace.end(began, 5.0, stored=False)
    pace.begin(5.0)
    assert pace.wait(waiting=5) == 0.0


def test_flushes_that_begin_at_once_are_told_apart() -> None:
    pace = Pace(lanes=2, rows=10)
    first, second = pace.begin(1.0), pace.begin(1.0)
    assert first != second
    pace.end(first, 2.0, stored=True)
    assert pace.wait(waiting=0) == 0.0
