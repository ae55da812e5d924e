from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from events import Failed, JsonValue, NodeStatus
from pipelines import NodeRecord, Pipeline
from pipelines.kinds import Kind
from pipelines.steps import Step
from pipelines.testing.life import Life
from storage.past_runs import PastRun
from storage.records import NodeResult
from throughline.backtest.differences import Difference, differences

MOST_DIFFERENCES: Final = 100
"""What is told of one run, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What became of an event on one side. ``seconds`` is what the nodes took that were called on both."""

    outcome: str
    path: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A past run and what the code makes of its event. ``not_run``: where it could go no further, and why."""

    run_id: UUID
    event_id: UUID
    event_type: str
    received_at: datetime
    production: Side
    code: Side
    not_run: str | None
    differences: tuple[Difference, ...]


def compare(past: PastRun, life: Life, pipeline: Pipeline[Any], *, not_run: str | None) -> Compared:
    """Compare a stored run with what the code made of its event."""
    stored, made = _last(past.run.nodes), _last(life.records)
    called = {name for name in stored.keys() & made.keys() if _is_called(pipeline.all_steps[name])}
    production = Side(
        outcome=_stored_outcome(past),
        path=_path(stored, pipeline),
        seconds=sum(stored[name].duration_seconds for name in called),
    )
    code = Side(
        outcome="not run" if not_run else _outcome(life),
        path=_path(made, pipeline),
        seconds=sum(made[name].duration for name in called),
    )
    found = _differences(production, code, stored, made)
    return Compared(
        run_id=past.run.run_id,
        event_id=past.event.event_id,
        event_type=past.event.type,
        received_at=past.event.received_at,
        production=production,
        code=code,
        not_run=not_run,
        differences=tuple(islice(found, MOST_DIFFERENCES)),
    )


def _differences(
    production: Side, code: Side, stored: dict[str, NodeResult], made: dict[str, NodeRecord]
) -> Iterator[Difference]:
    yield from differences("outcome", production.outcome, code.outcome)
    if production.path != code.path:
        yield Difference(path="path", production=list(production.path), code=list(code.path))
    for name in production.path:
        if name in made and stored[name].status is made[name].status is not NodeStatus.FAILED:
            yield from differences(f"outputs.{name}", stored[name].output, made[name].output)


def _is_called(step: Step) -> bool:
    return not step.node.effects and (step.called or step.kind is Kind.MAP)


def _last(results: Iterable[Any]) -> dict[str, Any]:
    """Return the last result of each node, without single items and what was skipped."""
    return {one.node: one for one in results if one.item == 0 and one.status is not NodeStatus.SKIPPED}


def _path(ran: dict[str, Any], pipeline: Pipeline[Any]) -> tuple[str, ...]:
    """Return the nodes that ran in the order of the graph: which of two side by side began first says nothing."""
    order = {name: place for place, name in enumerate(pipeline.all_steps)}
    return tuple(sorted(ran, key=lambda name: (order.get(name, len(order)), name)))


def _outcome(life: Life) -> str:
    outcome = life.outcome
    if isinstance(outcome, Failed):
        return _failed(outcome.kind, outcome.error.type, outcome.error.node)
    return "succeeded"


def _stored_outcome(past: PastRun) -> str:
    run = past.run
    if run.failure_kind is None:
        return run.status.value
    error: dict[str, JsonValue] = run.error or {}
    return _failed(run.failure_kind, error.get("type"), error.get("node"))


def _failed(kind: str, error: object, node: object) -> str:
    return f"failed: {kind}, {error}" + (f" in {node}" if node else "")
