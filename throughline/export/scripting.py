"""What the nodes of a stored run answer in its test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from events import AttemptOutcome, ConfigurationError, JsonValue, NodeStatus
from pipelines import Pipeline
from pipelines.kinds import Kind
from pipelines.steps import Step
from storage.past_runs import PastRun
from storage.records import NodeResult
from throughline.export.hiding import Hiding
from throughline.export.literals import literal, quoted

_TRIED = frozenset({AttemptOutcome.RETRIED, AttemptOutcome.FAILED})

Error = Mapping[str, JsonValue]


class NotExportable(ConfigurationError):  # noqa: N818 - what is the matter, not that it is an error
    """No test can be made of the run; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A node's answers as Python text, one for each call. ``effects``: it has some, or else it failed."""

    node: str
    effects: bool
    answers: tuple[str, ...]


def scripted(past: PastRun, pipeline: Pipeline[Any], hiding: Hiding) -> Iterator[Scripted]:
    """Yield the nodes that are not called in the test: those with effects, and those that failed.

    Raises:
        NotExportable: a node with effects failed for some of its items, which are not told apart.

    """
    results = {node.node: node for node in past.run.nodes if node.item == 0}
    errors = _errors(past, results)
    for name, step in pipeline.all_steps.items():
        if step.called or step.kind is Kind.MAP:
            answers = _answers(step, results.get(name), errors.get(name, []), hiding=hiding)
            if answers:
                yield Scripted(node=name, effects=step.node.effects, answers=answers)


def _answers(
    step: Step, result: NodeResult | None, errors: list[tuple[Error, bool]], *, hiding: Hiding
) -> tuple[str, ...]:
    done = result is not None and result.status in (NodeStatus.SUCCEEDED, NodeStatus.STOPPED)
    if step.kind is Kind.MAP:
        if step.node.effects and errors and not done:
            raise NotExportable(f"node {step.name!r} failed for some of its items, which no test can show")
        errors = []
    if not (step.node.effects or errors):
        return ()
    answers = [_failure(error, retried=retried) for error, retried in errors]
    if result is not None and result.status is NodeStatus.STOPPED and isinstance(result.output, Mapping):
        reason = hiding.hide(result.output.get("reason"), f"outputs.{step.name}.reason")
        answers.append(f"Stop({quoted(str(reason))})")
    elif result is not None and result.status is NodeStatus.SUCCEEDED:
        answers.append(literal(hiding.hide(result.output, f"outputs.{step.name}"), indent=8))
    elif result is not None and result.error and not errors:
        answers.append(_failure(result.error, retried=False))  # a branch that was given up
    return tuple(answers)


def _errors(past: PastRun, results: Mapping[str, NodeResult]) -> dict[str, list[tuple[Error, bool]]]:
    """Return the errors of each node in the order of the tries, and whether another try followed."""
    found: dict[str, list[tuple[Error, bool]]] = {}
    for attempt in past.run.attempts:
        if attempt.outcome not in _TRIED or not attempt.error:
            continue
        retried = attempt.outcome is AttemptOutcome.RETRIED
        several = attempt.error.get("nodes")
        for node in several if isinstance(several, list) and several else [attempt.error.get("node")]:
            if isinstance(node, str):
                found.setdefault(node, []).append((_error_of(node, attempt.error, results), retried))
    return found


def _error_of(node: str, error: Error, results: Mapping[str, NodeResult]) -> Error:
    """Return a node's own error of a try; of several that failed side by side, the last of each alone is known."""
    result = results.get(node)
    if error.get("node") == node or result is None or not result.error:
        return error
    return result.error


def _failure(error: Error, *, retried: bool) -> str:
    more = ", retried=True" if retried else ""
    return f"failure({quoted(str(error.get('type')))}, {quoted(str(error.get('message')))}{more})"
