import json

import pytest

from benchmarks.loadgen import quantile
from benchmarks.results import GOALS, Reached, Results, Verdict


def _goal(figure: str) -> Reached:
    return Reached(goal=next(goal for goal in GOALS if goal.figure == figure), value=0.0)


@pytest.mark.parametrize(
    ("figure", "value", "verdict"),
    [
        ("sustained", 10.0, Verdict.AIM),
        ("sustained", 9.9, Verdict.BOUND),
        ("sustained", 4.9, Verdict.MISSED),
        ("idle p50", 0.9, Verdict.AIM),
        ("idle p50", 1.6, Verdict.BOUND),
        ("idle p50", 1.61, Verdict.MISSED),
    ],
)
def test_a_ratio_is_held_against_aim_and_floor_from_the_right_side(figure: str, value: float, verdict: Verdict) -> None:
    assert Reached(goal=_goal(figure).goal, value=value).verdict is verdict


def test_a_ratio_is_that_of_medians_and_needs_both_figures() -> None:
    results = Results()
    for value in (100.0, 300.0, 2_000.0):
        results.add("sustained", value, "events/s")
    assert list(results.reached()) == []
    results.add("plain sustained", 30.0, "events/s")
    [reached] = results.reached()
    assert reached.value == 10.0


def test_a_figure_without_a_reference_stands_for_itself() -> None:
    results = Results()
    results.add("waiting total", 4.5, "s")
    [reached] = results.reached()
    assert (reached.value, reached.verdict) == (4.5, Verdict.BOUND)


def test_the_cpu_time_of_processes_of_one_kind_is_added_up() -> None:
    results = Results()
    results.cost("drain", {"worker-1": 1.0, "worker-2": 2.0, "plain-worker": 0.5, "relay": 0.25}, events=1_000)
    assert results.costs["drain"] == {"worker": 3_000.0, "plain-worker": 500.0, "relay": 250.0}


def test_results_are_json() -> None:
    results = Results()
    results.add("waiting total", 4.5, "s")
    results.complain("a span is missing")
    told = json.loads(json.dumps(results.as_json()))
    assert told["figures"]["waiting total"] == {"unit": "s", "median": 4.5, "values": [4.5]}
    assert told["ratios"][0]["verdict"] == "above the floor"
    assert told["complaints"] == ["a span is missing"]


def test_quantiles() -> None:
    ordered = [float(number) for number in range(100)]
    assert (quantile(ordered, 0.5), quantile(ordered, 0.99), quantile([], 0.5)) == (50.0, 99.0, 0.0)
