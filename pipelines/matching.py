"""Whether a run can go on: what it has done already must be how the graph would have begun."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from events import JsonValue, NodeStatus
from pipelines.errors import InvalidOutputError
from pipelines.journal import NodeRecord
from pipelines.pipeline import Pipeline
from pipelines.steps import Step

Done: TypeAlias = Mapping[tuple[str, int], NodeRecord]

_DONE: Final = frozenset({NodeStatus.SUCCEEDED, NodeStatus.STOPPED})


def mismatch(pipeline: Pipeline[Any], done: Done) -> str | None:
    """Say what keeps a run with these results from going on in this pipeline's graph; None: nothing.

    Walked from the start by the stored outputs, the graph must meet nodes that are done, then none that is; no done
    node may be left outside that way, and every output must still be what its node declares. A run that has done
    nothing fits every graph. Results that did not end well don't count: such a node is called again.
    """
    left = {key: record for key, record in done.items() if record.status in _DONE}
    name: str | None = pipeline.start.name
    while left and name is not None and (record := left.pop((name, 0), None)) is not None:
        step = pipeline.steps[name]
        try:
            name = _next(step, record)
        except InvalidOutputError as error:
            return f"node {step.name!r} is done, but {error}"
        except Exception as error:  # noqa: BLE001 - a user's own validators may raise anything
            return f"node {step.name!r} is done, but its output can't be read any more ({type(error).__name__})"
    return _left_over(pipeline.steps, left, name) if left else None


def _next(step: Step, record: NodeRecord) -> str | None:
    if record.status is NodeStatus.STOPPED:
        return None
    value: JsonValue = step.codec.restore(record.output).value
    return step.next(value)


def _left_over(steps: Mapping[str, Step], left: Iterable[tuple[str, int]], stopped: str | None) -> str:
    """Word why a node that is done is no part of the way, which ended before ``stopped``."""
    unknown = sorted(name for name, _ in left if name not in steps)
    if unknown:
        return f"node {unknown[0]!r} is done, and there is no such node any more"
    name, item = min(left)
    if item:
        return f"item {item} of node {name!r} is done, and it has no items any more"
    if stopped is None:
        return f"node {name!r} is done, but by what was done before it the run would not come to it"
    return f"node {name!r} is done, but {stopped!r}, which comes first, is not"
