from typing import Any

import pytest

from throughline.chaos.audit import Books, Verdict, audit
from throughline.chaos.effects import Call
from throughline.chaos.ledger import NORMAL, Sent

NODES = ("reserve", "crunch", "confirm")


def books(**changes: Any) -> Books:
    """One computing event, promised, run once and well; ``changes`` say what is otherwise."""
    data, phase = changes.pop("data", {}), "redis-full"
    sent = Sent(ce_id="1", type="chaos.computing", data=data, phase=phase, event_id="e", answers=["202"])
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


class Faults:
    """One fault, from 40 to 60; ``everywhere`` explains everything."""

    def __init__(self, *, everywhere: bool) -> None:
        self._everywhere = everywhere

    def explained(self, moment: float) -> bool:
        return self._everywhere or 40 <= moment <= 60

    def phase(self, moment: float) -> str:
        return "worker-killed" if moment >= 40 else NORMAL


def judged(found: Books, *, explained: bool = True) -> Verdict:
    return audit(found, when=Faults(everywhere=explained))


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
        {"run_id": "r", "attempt": 1, "outcome": "lost", "ended": 30.0},
        {"run_id": "r", "attempt": 2, "outcome": "succeeded", "ended": 100.0},
    ]
    found = books(run={"attempt": 2}, attempts=attempts)
    assert judged(found).clean
    assert judged(found, explained=False).doubled


@pytest.mark.parametrize(
    ("poison", "status", "kind"),
    [
        (None, "succeeded", None),
        ("exit", "failed", "poisoned"),
        ("oom", "failed", "poisoned"),
        ("memory", "failed", "error"),
    ],
)
def test_run_must_end_as_its_event_was_made_to(poison: str | None, status: str, kind: str | None) -> None:
    data = {"poison": poison} if poison else {}
    assert not judged(books(data=data, run={"status": status, "failure_kind": kind})).astray
    assert judged(books(data=data, run={"status": "cancelled", "failure_kind": None})).astray
    wrong = ("failed", "poisoned") if kind != "poisoned" else ("failed", "error")
    assert judged(books(data=data, run={"status": wrong[0], "failure_kind": wrong[1]})).astray


def test_finding_is_of_the_phase_of_its_event_or_of_its_call() -> None:
    assert [finding.phase for finding in judged(books(runs=[], calls={})).lost] == ["redis-full"]
    calls = [Call(run_id="r", node=node, attempt=1, at=39.0) for node in NODES]
    late = Call(run_id="r", node="reserve", attempt=2, at=45.0)
    assert [finding.phase for finding in judged(books(calls={"r": [*calls, late]})).doubled] == ["worker-killed"]
