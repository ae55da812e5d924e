from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from throughline.chaos.effects import Call
from throughline.chaos.flows import NODES, REPLY
from throughline.chaos.ledger import Sent

FINAL = frozenset({"succeeded", "failed", "cancelled"})
_BY_FAULT = frozenset({"lost", "handed_back"})

Row = Mapping[str, Any]


class When(Protocol):
    """What is known of the faults: see ``Timeline``."""

    def explained(self, moment: float) -> bool:
        """Whether a fault was near a moment (epoch seconds)."""

    def phase(self, moment: float) -> str:
        """Return the name of the last fault that had begun."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line that names the event or the run, and the phase that it belongs to."""

    text: str
    phase: str


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What the audit found."""

    lost: list[Finding] = field(default_factory=list)
    doubled: list[Finding] = field(default_factory=list)
    stuck: list[Finding] = field(default_factory=list)
    astray: list[Finding] = field(default_factory=list)
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


def audit(books: Books, *, when: When) -> Verdict:
    """Compare the books."""
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
            phase, calls = books.sent[run["ce_id"]].phase, books.calls.get(run_id, ())
            _check_attempts(run, attempts[run_id], verdict, when=when, phase=phase)
            verdict.doubled += _check_calls(run, calls, attempts[run_id], results[run_id], when=when)
            verdict.lost += [Finding(text, phase) for text in _check_results(run, calls, results[run_id])]
    verdict.repeated_calls = sum(len(calls) - len({call.node for call in calls}) for calls in books.calls.values())
    return verdict


def _check_event(sent: Sent, runs: list[Row], verdict: Verdict) -> None:
    """A promised event is there once, with one run that has ended; another isn't, or just so. A reply has no run."""
    name = f"event {sent.ce_id} ({sent.type}, answered {', '.join(sent.answers[-3:])})"
    if not runs:
        if sent.accepted:
            verdict.lost.append(Finding(f"{name} isn't there", sent.phase))
        return
    verdict.stored_unpromised += not sent.accepted
    if sent.accepted and {run["event_id"] for run in runs} != {sent.event_id}:
        told = f"{name} was promised as {sent.event_id} and is {runs[0]['event_id']}"
        verdict.lost.append(Finding(told, sent.phase))
    if sent.type == REPLY:
        return
    if len(runs) > 1:
        verdict.doubled.append(Finding(f"{name} has {len(runs)} runs", sent.phase))
    for run in runs:
        _check_end(name, sent, run, verdict)


def _check_end(name: str, sent: Sent, run: Row, verdict: Verdict) -> None:
    run_id, status, phase = run["run_id"], run["status"], sent.phase
    if run_id is None:
        verdict.lost.append(Finding(f"{name} has no run", phase))
    elif status not in FINAL:
        verdict.stuck.append(Finding(f"{name}: run {run_id} is {status} ({run['reason']})", phase))
    elif (status, run["failure_kind"]) != expected_end(sent):
        verdict.astray.append(Finding(f"{name}: run {run_id} ended {status} ({run['failure_kind']})", phase))


def expected_end(sent: Sent) -> tuple[str, str | None]:
    """Return the status and the kind of failure that an event's run must end with."""
    match sent.data.get("poison"):
        case None:
            return "succeeded", None
        case "memory":
            return "failed", "error"
        case _:
            return "failed", "poisoned"


def _check_attempts(run: Row, attempts: Mapping[int, Row], verdict: Verdict, *, when: When, phase: str) -> None:
    """A run succeeds once, and an attempt ends without its doing only where a fault was near."""
    succeeded = sum(attempt["outcome"] == "succeeded" for attempt in attempts.values())
    if succeeded > 1:
        verdict.doubled.append(Finding(f"run {run['run_id']} succeeded {succeeded} times", phase))
    if sorted(attempts) != list(range(1, run["attempt"] + 1)):
        told = f"run {run['run_id']} has attempts {sorted(attempts)}, and its counter says {run['attempt']}"
        verdict.lost.append(Finding(told, phase))
    for number, attempt in attempts.items():
        if attempt["outcome"] in _BY_FAULT and not when.explained(attempt["ended"]):
            told = f"run {run['run_id']} attempt {number} was {attempt['outcome']} without a fault near"
            verdict.doubled.append(Finding(told, when.phase(attempt["ended"])))


def _check_calls(
    run: Row, calls: Sequence[Call], attempts: Mapping[int, Row], results: Mapping[str, Row], *, when: When
) -> Iterator[Finding]:
    """A node is called once an attempt, never after its checkpoint, again only after one that ended early."""
    run_id = run["run_id"]
    latest = {(call.node, call.attempt): call.at for call in calls}
    for (node, attempt), times in Counter((call.node, call.attempt) for call in calls).items():
        if times > 1:
            told = f"run {run_id} called {node} {times} times in attempt {attempt}"
            yield Finding(told, when.phase(latest[node, attempt]))
    for call in calls:
        result = results.get(call.node)
        if result is None or result["status"] != "succeeded":
            continue
        wrong = _wrong_call(call, result["attempt"], run, attempts)
        if wrong:
            told = f"run {run_id} called {call.node} in attempt {call.attempt}{wrong}"
            yield Finding(told, when.phase(call.at))


def _wrong_call(call: Call, kept: int, run: Row, attempts: Mapping[int, Row]) -> str:
    """Say what is wrong with a call of a node whose result attempt ``kept`` committed; nothing, when it is well."""
    if call.attempt > kept:
        return f", after the checkpoint of attempt {kept}"
    if call.attempt < kept and _ended(attempts, call.attempt) not in {*_BY_FAULT, "retried"}:
        return f" and again in {kept}, though it had ended {_ended(attempts, call.attempt)}"
    if call.attempt < kept and run["ended"] is not None and call.at > run["ended"]:
        return ", after the run had ended"
    return ""


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
