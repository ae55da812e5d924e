import pytest

from events import ConfigurationError
from throughline.chaos.plan import CI, FAULTS, FULL, QUICK, SHORT, Form, make_plan

ROWS = {
    "SIGKILL of a worker or a child": {"worker-killed", "worker-killed-in-a-row", "child-killed", "all-killed"},
    "SIGTERM, rolling restart": {"workers-rolled", "api-rolled", "relays-rolled"},
    "poison": {"poison-exit", "poison-segfault", "poison-loop", "poison-oom", "poison-memory"},
    "Redis killed": {"redis-killed-idle", "redis-killed-busy"},
    "Redis stopped, refused, full, emptied, lost": {
        "redis-paused",
        "redis-refused",
        "redis-full",
        "redis-flushed",
        "redis-data-lost",
    },
    "black hole": {"redis-black-hole", "redis-black-hole-long"},
    "READONLY": {"redis-readonly"},
    "PostgreSQL": {"postgres-killed", "postgres-restarted", "postgres-paused", "postgres-used-up"},
    "PostgreSQL cut off from one": {"postgres-cut-from-one"},
    "relays and clocks": {"relay-killed", "clock-ahead", "clock-behind"},
    "long runs": {"runs-outlast-lease", "worker-paused"},
    "old and new code": {"old-and-new"},
    "collector": {"collector-silent"},
    "disk full": {"postgres-disk-full"},
}


def test_plan_is_repeated_by_its_seed_and_holds_every_row_of_the_matrix() -> None:
    plan = make_plan(FULL, seed=7, mounted=True)
    assert plan == make_plan(FULL, seed=7, mounted=True)
    assert {step.fault.name for step in plan} == {fault.name for fault in FAULTS} == set().union(*ROWS.values())
    assert sum(step.fault.times for step in plan) >= 40
    assert sum(step.fault.times for step in plan if step.fault.name.startswith("worker-killed-in")) == 12


@pytest.mark.parametrize("seed", range(20))
def test_what_is_done_once_is_never_drawn_again(seed: int) -> None:
    plan = make_plan(FULL, seed=seed, mounted=True)
    names = [step.fault.name for step in plan]
    assert all(names.count(fault.name) == 1 for fault in FAULTS if fault.once)
    assert [step.first for step in plan] == [step.fault.name not in names[:n] for n, step in enumerate(plan)]


def test_quick_form_has_nothing_that_takes_long() -> None:
    plan = make_plan(QUICK, seed=7, mounted=True)
    assert not any(step.fault.only_full for step in plan)
    assert len({step.fault.name for step in plan}) == len(plan)


def test_short_form_has_its_faults_alone() -> None:
    assert {step.fault.name for step in make_plan(CI, seed=7, mounted=True)} == set(SHORT)


def test_plan_without_a_mount_leaves_the_full_disk_out() -> None:
    assert not any(step.fault.needs_mount for step in make_plan(QUICK, seed=7, mounted=False))


def test_fault_that_there_is_not_is_refused() -> None:
    form = Form(name="x", minutes=1, events=1, faults=1, quick=True, only=("moon",))
    with pytest.raises(ConfigurationError, match="moon"):
        make_plan(form, seed=1, mounted=False)
