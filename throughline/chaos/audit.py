from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from throughline.chaos.effects import Call
from throughline.chaos.flows import NODES
from throughline.chaos.ledger import Sent

FINAL = frozenset({"succeeded", "failed", "cancelled"})
_BY_FAULT = frozenset({"lost", "handed_back"})

Row = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What the audit found; each finding is one line that names the event or the run."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)
    repeated_calls: int = 0
    stored_unpromised: int = 0

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.stuck or self.astray)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything that is compared: the client's ledger, the effects' ledger, and the tables."""

    sent: Mapping[str, Sent]
    calls: Mapping[str, Sequence[Call]]
    runs: Sequence[Row]
    attempts: Sequence[Row]
    results: Sequence[Row]


def audit(books: Books, *, explained: Callable[[float], bool]) -> Verdict:
    """Compare the books. ``explained`` says whether a fault was near a moment (epoch seconds)."""
    verdict = Verdict()
    runs: dict[str, list[Row]] = defaultdict(list)
    for run in books.runs:
        runs[run["ce_id"]].append(run)
    for sent in books.sent.values():
        _check_event(sent, runs.get(sent.ce_id, []), verdict)
    attempts: dict[str, dict[int, Row]] = defaultdict(dict)
    for attempt in books.attempts:
        attempts[attempt["run_id"]][attempt["attempt"]] = attempt
    results: dict[str, dict[str, Row]] = defaultdict(dict)
    for result in books.results:
        results[result["run_id"]][result["node"]] = result
    for run in books.runs:
        run_id = run["run_id"]
        if run_id is not None:
            _check_attempts(run, attempts[run_id], verdict, explained)
            verdict.doubled += _check_calls(run, books.calls.get(run_id, ()), attempts[run_id], results[run_id])
            verdict.lost += _check_results(run, books.calls.get(run_id, ()), results[run_id])
    verdict.repeated_calls = sum(len(calls) - len({call.node for call in calls}) for calls in books.calls.values())
    return verdict


def _check_event(sent: Sent, runs: list[Row], verdict: Verdict) -> None:
    """A promised event is there once, with one run that has ended; another is absent, or just so."""
    name = f"event {sent.ce_id} ({sent.type}, answered {', '.join(sent.answers[-3:])})"
    if not runs:
        if sent.accepted:
            verdict.lost.append(f"{name} isn't there")
        return
    verdict.stored_unpromised += not sent.accepted
    if sent.accepted and {run["event_id"] for run in runs} != {sent.event_id}:
        verdict.lost.append(f"{name} was promised as {sent.event_id} and is {runs[0]['event_id']}")
    if len(runs) > 1:
        verdict.doubled.append(f"{name} has {len(runs)} runs")
    for run in runs:
        _check_end(name, sent, run, verdict)


def _check_end(name: str, sent: Sent, run: Row, verdict: Verdict) -> None:
    if run["run_id"] is None:
        verdict.lost.append(f"{name} has no run")
    elif run["status"] not in FINAL:
        verdict.stuck.append(f"{name}: run {run['run_id']} is {run['status']} ({run['reason']})")
    elif (run["status"], run["failure_kind"]) != _expected_end(sent):
        verdict.astray.append(f"{name}: run {run['run_id']} ended {run['status']} ({run['failure_kind']})")


def _expected_end(sent: Sent) -> tuple[str, str | None]:
    return ("failed", "poisoned") if sent.data.get("poison") else ("succeeded", None)


def _check_attempts(
    run: Row, attempts: Mapping[int, Row], verdict: Verdict, explained: Callable[[float], bool]
) -> None:
    """A run succeeds once, and an attempt ends without its doing only where a fault was near."""
    succeeded = sum(attempt["outcome"] == "succeeded" for attempt in attempts.values())
    if succeeded > 1:
        verdict.doubled.append(f"run {run['run_id']} succeeded {succeeded} times")
    if sorted(attempts) != list(range(1, run["attempt"] + 1)):
        verdict.lost.append(
            f"run {run['run_id']} has attempts {sorted(attempts)}, and its counter says {run['attempt']}"
        )
    for number, attempt in attempts.items():
        if attempt["outcome"] in _BY_FAULT and not explained(attempt["ended"]):
            verdict.doubled.append(
                f"run {run['run_id']} attempt {number} was {attempt['outcome']} without a fault near"
            )


def _check_calls(
    run: Row, calls: Sequence[Call], attempts: Mapping[int, Row], results: Mapping[str, Row]
) -> Iterator[str]:
    """A node is called once an attempt, never after its checkpoint, again only after one that ended early."""
    run_id = run["run_id"]
    for (node, attempt), times in Counter((call.node, call.attempt) for call in calls).items():
        if times > 1:
            yield f"run {run_id} called {node} {times} times in attempt {attempt}"
    for call in calls:
        result = results.get(call.node)
        if result is None or result["status"] != "succeeded":
            continue
        kept, where = result["attempt"], f"run {run_id} called {call.node} in attempt {call.attempt}"
        if call.attempt > kept:
            yield f"{where}, after the checkpoint of attempt {kept}"
        elif call.attempt < kept and _ended(attempts, call.attempt) not in {*_BY_FAULT, "retried"}:
            yield f"{where} and again in {kept}, though it had ended {_ended(attempts, call.attempt)}"
        elif call.attempt < kept and run["ended"] is not None and call.at > run["ended"]:
            yield f"{where}, after the run had ended"


def _ended(attempts: Mapping[int, Row], number: int) -> str | None:
    outcome: str | None = attempts[number]["outcome"] if number in attempts else None
    return outcome


def _check_results(run: Row, calls: Sequence[Call], results: Mapping[str, Row]) -> Iterator[str]:
    """A run that succeeded has a result for each node, and the outside world saw each call that a result stands for."""
    if run["status"] != "succeeded":
        return
    seen = {(call.node, call.attempt) for call in calls}
    for node in NODES.get(run["type"], ()):
        if node not in results:
            yield f"run {run['run_id']} succeeded without a result of {node}"
        elif (node, results[node]["attempt"]) not in seen:
            yield f"run {run['run_id']} has a result of {node} that nobody saw called"
