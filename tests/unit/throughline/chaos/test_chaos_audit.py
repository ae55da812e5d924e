from typing import Any

import pytest

from events import ConfigurationError
from throughline.chaos.audit import Books, Verdict, audit
from throughline.chaos.effects import Call
from throughline.chaos.ledger import Sent
from throughline.chaos.plan import FAULTS, FULL, QUICK, Form, make_plan

NODES = ("reserve", "crunch", "confirm")


def books(**changes: Any) -> Books:
    """One computing event, promised, run once and well; ``changes`` say what is otherwise."""
    sent = Sent(ce_id="1", type="chaos.computing", data={}, event_id="e", answers=["202"])
    run = {"ce_id": "1", "type": sent.type, "event_id": "e", "run_id": "r", "status": "succeeded", "reason": None}
    run |= {"failure_kind": None, "attempt": 1, "ended": 100.0}
    whole: dict[str, Any] = {
        "sent": {"1": sent},
        "runs": [run | changes.pop("run", {})],
        "attempts": [{"run_id": "r", "attempt": 1, "outcome": "succeeded", "ended": 100.0}],
        "results": [{"run_id": "r", "node": node, "attempt": 1, "status": "succeeded"} for node in NODES],
        "calls": {"r": [Call(run_id="r", node=node, attempt=1, at=99.0) for node in NODES]},
    }
    return Books(**whole | changes)


def judged(found: Books, *, explained: bool = True) -> Verdict:
    return audit(found, explained=lambda _moment: explained)


def test_kept_promise_is_clean() -> None:
    assert judged(books()).clean


def test_promised_event_that_is_not_there_is_lost() -> None:
    assert judged(books(runs=[], calls={})).lost


def test_promised_run_that_has_not_ended_is_stuck() -> None:
    assert judged(books(run={"status": "queued", "ended": None})).stuck


def test_call_after_the_checkpoint_is_doubled() -> None:
    calls = [Call(run_id="r", node=node, attempt=1, at=99.0) for node in NODES]
    late = Call(run_id="r", node="reserve", attempt=2, at=99.5)
    assert judged(books(calls={"r": [*calls, late]})).doubled


def test_lost_attempt_is_doubled_work_unless_a_fault_explains_it() -> None:
    attempts = [
        {"run_id": "r", "attempt": 1, "outcome": "lost", "ended": 50.0},
        {"run_id": "r", "attempt": 2, "outcome": "succeeded", "ended": 100.0},
    ]
    found = books(run={"attempt": 2}, attempts=attempts)
    assert judged(found).clean
    assert judged(found, explained=False).doubled


def test_plan_is_repeated_by_its_seed_and_holds_every_fault() -> None:
    plan = make_plan(FULL, seed=7, mounted=True)
    assert plan == make_plan(FULL, seed=7, mounted=True)
    assert {step.fault.name for step in plan} == {fault.name for fault in FAULTS}
    assert len(plan) >= 40


def test_plan_without_a_mount_leaves_the_full_disk_out() -> None:
    assert not any(step.fault.needs_mount for step in make_plan(QUICK, seed=7, mounted=False))


def test_fault_that_there_is_not_is_refused() -> None:
    form = Form(name="x", minutes=1, events=1, faults=1, quick=True, only=("moon",))
    with pytest.raises(ConfigurationError, match="moon"):
        make_plan(form, seed=1, mounted=False)
