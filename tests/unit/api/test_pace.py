import pytest

from api.pace import Pace


def test_nobody_waits_while_a_lane_is_free() -> None:
    pace = Pace(lanes=2, rows=10)
    began = pace.begin(0.0)
    pace.end(began, 9.0, stored=True)
    pace.begin(9.0)
    assert pace.wait(20.0, waiting=0) == 0.0


def test_who_waits_does_so_for_the_flushes_before_and_for_its_own() -> None:
    pace = Pace(lanes=2, rows=10)
    for _ in range(100):
        pace.end(pace.begin(0.0), 0.1, stored=True)
    pace.begin(1.0)
    pace.begin(1.0)
    assert pace.wait(1.0, waiting=0) == pytest.approx(0.1, rel=0.01)
    assert pace.wait(1.0, waiting=60) == pytest.approx(0.4, rel=0.01)


def test_a_flush_that_stands_still_is_known_before_it_ends() -> None:
    pace = Pace(lanes=1, rows=10)
    pace.begin(0.0)
    assert pace.wait(3.0, waiting=0) == 3.0


def test_what_postgresql_was_away_for_tells_nothing_of_the_next() -> None:
    pace = Pace(lanes=1, rows=10)
    pace.end(pace.begin(0.0), 60.0, stored=False)
    pace.begin(60.0)
    assert pace.wait(60.0, waiting=0) == 0.0


def test_flushes_that_begin_at_once_are_told_apart() -> None:
    pace = Pace(lanes=2, rows=10)
    first, second = pace.begin(1.0), pace.begin(1.0)
    assert first != second
    pace.end(first, 2.0, stored=True)
    assert pace.wait(2.0, waiting=0) == 0.0
