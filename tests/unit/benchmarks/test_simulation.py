"""The laws of the simulation; what it says of real machines is compared with measurements in docs/scaling.md."""

from dataclasses import replace

import pytest

from benchmarks.measured import load
from benchmarks.simulation.run import Report, simulate
from benchmarks.simulation.scenario import Scenario

COSTS = load()
SMALL = Scenario(api=1, workers=2, relays=1, postgres_cores=4, seconds=2.0, warm_up=0.5)
LONG = 8.0
EDGES = 1.05
"""What was under way when the measured time began, or still is when it ends, had part of its time outside."""


def run(scenario: Scenario) -> Report:
    return simulate(scenario, COSTS)


@pytest.mark.parametrize("rate", [50.0, 1_000.0, 20_000.0])
@pytest.mark.parametrize("queues", [1, 3])
def test_nothing_is_lost_and_nothing_doubled(rate: float, queues: int) -> None:
    report = run(replace(SMALL, rate=rate, queues=queues))
    assert report.arrived == report.refused + report.finished + report.in_flight
    assert report.finished > 0
    assert report.in_flight >= 0


def test_the_same_seed_gives_the_same_report_and_another_one_does_not() -> None:
    scenario = replace(SMALL, rate=500.0)
    assert run(scenario) == run(scenario)
    assert run(scenario) != run(replace(scenario, seed=2))


def test_below_every_capacity_all_that_comes_is_finished() -> None:
    report = run(replace(SMALL, rate=1_000.0, seconds=4.0))
    assert report.finished_rate == pytest.approx(1_000.0, rel=0.05)
    assert report.saturated == ()
    assert report.refused == 0


def test_no_api_process_accepts_more_than_its_loop_has_time_for() -> None:
    report = run(replace(SMALL, rate=10_000.0, seconds=LONG))
    assert "api" in report.saturated
    assert report.accepted_rate <= EDGES / (COSTS.request + COSTS.accept.client.each)
    assert report.refused > 0


def test_no_worker_finishes_more_than_its_loop_has_time_for() -> None:
    report = run(replace(SMALL, backlog=40_000, workers=1, relays=2))
    assert report.finished_rate <= EDGES / (COSTS.run + COSTS.claim.client.each + COSTS.finish.client.each)
    assert report.utilisation["worker"] > 0.9


def test_postgresql_does_no_more_than_its_cores_can() -> None:
    report = run(replace(SMALL, backlog=60_000, workers=8, relays=2, postgres_cores=1))
    each = sum(one.server.each for one in (COSTS.publish, COSTS.claim, COSTS.finish)) + COSTS.background
    assert "postgres" in report.saturated
    assert report.finished_rate <= EDGES / each


def test_no_more_wal_is_written_than_the_disk_takes() -> None:
    report = run(replace(SMALL, rate=4_000.0, workers=4, wal_mb=5.0, seconds=LONG))
    assert "disk" in report.saturated
    assert report.wal <= 5.0e6 * EDGES


def test_runs_that_wait_are_bounded_by_slots() -> None:
    report = run(replace(SMALL, backlog=5_000, workers=1, slots=100, concurrency=16, wait=0.5, seconds=LONG))
    assert "slots" in report.saturated
    assert report.finished_rate <= EDGES * 100 / 0.5


def test_a_queue_is_taken_from_in_turns_so_that_its_window_holds_with_any_number_of_relays() -> None:
    report = run(replace(SMALL, backlog=20_000, workers=1, relays=4, window=500))
    assert 0.5 < report.utilisation["window"] <= 1.0


def test_batches_grow_with_the_load() -> None:
    reports = [run(replace(SMALL, rate=rate)) for rate in (20.0, 400.0, 2_500.0)]
    for kind in ("accept", "publish", "message", "claim", "finish"):
        sizes = [report.batches[kind] for report in reports]
        assert sizes == sorted(sizes), kind
        assert sizes[-1] > sizes[0], kind


def test_more_workers_finish_a_backlog_faster_until_something_else_is_saturated() -> None:
    rates = [run(replace(SMALL, backlog=60_000, workers=workers)).finished_rate for workers in (1, 2, 4)]
    assert rates[1] > 1.7 * rates[0]
    assert rates[2] > rates[1]


def test_a_lone_event_is_as_fast_as_its_steps_one_after_another() -> None:
    report = run(replace(SMALL, rate=2.0, seconds=60.0))
    operations = (COSTS.accept, COSTS.publish, COSTS.claim, COSTS.finish)
    steps = sum(one.client.of(1) + one.server.of(1) + COSTS.flush for one in operations)
    steps += COSTS.request + COSTS.message.client.of(1) + COSTS.message.server.of(1)
    steps += COSTS.redis_message + COSTS.worker_message + COSTS.relay_run + COSTS.run
    assert report.end_to_end[0] == pytest.approx(steps, rel=0.02)


def test_what_shares_two_cores_gets_no_more_than_two() -> None:
    report = run(replace(SMALL, shared_cores=2, connections=32, held=600))
    busy = report.utilisation
    assert busy["all cores"] <= 1.0
    used = busy["api"] + 2 * busy["worker"] + busy["relay"] + busy["redis"] + report.postgres_cores
    assert used <= 2.0 * 1.02


def test_senders_are_held_back_while_too_much_is_open() -> None:
    report = run(replace(SMALL, connections=32, held=200, workers=1))
    assert report.in_flight <= 200 + 32
