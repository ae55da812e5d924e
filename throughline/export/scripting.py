"""What the nodes of a stored run answer in its test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from events import AttemptOutcome, JsonValue, NodeStatus
from pipelines import Pipeline
from storage.past_runs import PastRun
from throughline.export.hiding import Hiding
from throughline.export.literals import literal

_TRIED = frozenset({AttemptOutcome.RETRIED, AttemptOutcome.FAILED})
HAS_OUTPUT = frozenset({NodeStatus.SUCCEEDED, NodeStatus.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A node's answers as Python text, one for each call. ``effects``: it has some, or else it failed."""

    node: str
    effects: bool
    answers: tuple[str, ...]


def scripted(past: PastRun, pipeline: Pipeline[Any], hiding: Hiding) -> Iterator[Scripted]:
    """Yield the nodes that are not called in the test: those with effects, and those that failed."""
    outputs = {node.node: node.output for node in past.run.nodes if node.item == 0 and node.status in HAS_OUTPUT}
    errors = _errors(past)
    for name, step in pipeline.all_steps.items():
        if not (step.node.effects or name in errors) or not (name in outputs or name in errors):
            continue
        answers = [_failure(error, retried=retried) for error, retried in errors.get(name, ())]
        if name in outputs:
            answers.append(literal(hiding.hide(outputs[name], f"outputs.{name}"), indent=8))
        yield Scripted(node=name, effects=step.node.effects, answers=tuple(answers))


def _errors(past: PastRun) -> dict[str, list[tuple[dict[str, JsonValue], bool]]]:
    found: dict[str, list[tuple[dict[str, JsonValue], bool]]] = {}
    for attempt in past.run.attempts:
        if attempt.outcome in _TRIED and attempt.error and isinstance(node := attempt.error.get("node"), str):
            found.setdefault(node, []).append((attempt.error, attempt.outcome is AttemptOutcome.RETRIED))
    return found


def _failure(error: dict[str, JsonValue], *, retried: bool) -> str:
    more = ", retried=True" if retried else ""
    return f"failure({error.get('type')!r}, {error.get('message')!r}{more})"
