import pytest

from benchmarks.fitting import Line, fit


def test_costs_on_a_line_are_taken_apart_exactly() -> None:
    found = fit({size: 300.0 + 12.5 * size for size in (1, 4, 16, 64, 256)})
    assert (found.fixed, found.each) == (pytest.approx(300.0), pytest.approx(12.5))
    assert found.of(10) == pytest.approx(425.0)
    assert found.shared(10) == pytest.approx(42.5)


def test_every_size_counts_alike_so_that_a_large_batch_does_not_drown_the_fixed_part() -> None:
    costs = {1: 110.0, 10: 200.0, 1000: 12_100.0}
    found = fit(costs)
    assert all(abs(found.of(size) / cost - 1) < 0.15 for size, cost in costs.items())


def test_no_part_is_negative() -> None:
    assert fit({1: 5.0, 2: 15.0, 4: 40.0}).fixed == 0.0
    assert fit({1: 50.0, 2: 40.0, 4: 20.0}).each == 0.0


@pytest.mark.parametrize("costs", [{}, {1: 0.0, 4: 0.0}])
def test_what_costs_nothing_is_nothing(costs: dict[int, float]) -> None:
    assert fit(costs) == Line(0.0, 0.0)


def test_one_size_alone_is_a_fixed_cost() -> None:
    assert fit({1: 120.0}) == Line(120.0, 0.0)
