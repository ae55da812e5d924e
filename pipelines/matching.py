"""Whether a run can go on: what it has done already must be how the graph would have begun."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

from events import JsonValue, NodeStatus
from pipelines.concurrent import Branches
from pipelines.errors import InvalidOutputError
from pipelines.journal import NodeRecord
from pipelines.kinds import Kind
from pipelines.output import OutputCodec
from pipelines.pipeline import Pipeline
from pipelines.steps import Step, every
from pipelines.sub_pipeline import SubPipeline

Done: TypeAlias = Mapping[tuple[str, int], NodeRecord]

_DONE: Final = frozenset({NodeStatus.SUCCEEDED, NodeStatus.STOPPED})


_OPAQUE: Final = frozenset({Kind.MAP, Kind.SUB_PIPELINE})
"""Of these nothing but the output is asked for once they are done."""


class _Mismatch(Exception):  # noqa: N818 - an answer, which ends the walk
    """What is done is not what the graph has there."""


def mismatch(pipeline: Pipeline[Any], done: Done) -> str | None:
    """Say what keeps a run with these results from going on in this pipeline's graph; None: nothing.

    Walked from the start by the stored outputs, the graph must meet nodes that are done, then none that is; no done
    node may be left outside that way, and every output must still be what its node declares. The same goes for what is
    within a node: branches, items, the nodes of a sub-pipeline. A run that has done nothing fits every graph. Results
    that did not end well don't count: such a node is called again, or was given up.
    """
    way = _Way(done)
    try:
        stopped = way.through(pipeline.steps, pipeline.start.name)
    except _Mismatch as found:
        return str(found)
    return way.left_over(pipeline.steps, stopped)


class _Way:
    """The way that the stored outputs lead through a graph; what it meets is taken out of ``left``."""

    def __init__(self, done: Done) -> None:
        self._done = done
        self._left = {key for key, record in done.items() if record.status in _DONE}

    def through(self, steps: Mapping[str, Step], start: str) -> str | None:
        """Walk as far as the nodes are done; return the first that is not, None at an end or a stop."""
        name: str | None = start
        while name is not None:
            step = steps[name]
            record = self._take(step.name)
            if record is None or record.status is NodeStatus.STOPPED:
                self._begun(step)
                return step.name if record is None else None
            name = self._beyond(step, record)
        return None

    def left_over(self, steps: Mapping[str, Step], stopped: str | None) -> str | None:
        """Word why a node that is done is no part of the way, which ended before ``stopped``; None: all are."""
        if not self._left:
            return None
        kinds = {step.name: step.kind for step in every(steps.values())}
        unknown = sorted(name for name, _ in self._left if name not in kinds)
        if unknown:
            return f"node {unknown[0]!r} is done, and there is no such node any more"
        name, item = min(self._left)
        what = f"{_place(name, item)} is done"
        if item and kinds[name] is not Kind.MAP:
            return f"{what}, and it has no items any more"
        if stopped is None:
            return f"{what}, but by what was done before it the run would not come to it"
        return f"{what}, but {stopped!r}, which comes first, is not"

    def _take(self, name: str, item: int = 0) -> NodeRecord | None:
        if (name, item) not in self._left:
            return None
        self._left.remove((name, item))
        return self._done[name, item]

    def _begun(self, step: Step) -> None:
        """Walk what is done within a node that is not."""
        for branch in step.branches:
            self._branch(branch)
        if step.kind is Kind.MAP and step.item_codec is not None:
            for name, item in sorted(key for key in self._left if key[0] == step.name):
                record = self._take(name, item)
                if record is not None and record.status is NodeStatus.SUCCEEDED:
                    _restored(step.item_codec, record)
        if step.kind is Kind.SUB_PIPELINE:
            self.through(step.inner, cast("type[SubPipeline[Any]]", step.node).pipeline.start.name)

    def _branch(self, step: Step) -> bool:
        """Walk a branch as far as it is done; say whether it is done."""
        record = self._take(step.name)
        if record is None or record.status is NodeStatus.STOPPED:
            self._begun(step)
            return False
        self._beyond(step, record)
        return True

    def _beyond(self, step: Step, record: NodeRecord) -> str | None:
        """Return the node that follows one that is done, within which nothing is done any more."""
        value = _restored(step.codec, record)
        try:
            following = step.next(value)
        except InvalidOutputError as error:
            raise _Mismatch(f"node {step.name!r} is done, but {error}") from error
        if step.kind is Kind.CONCURRENT:
            given_up = Branches.model_validate(value).failed
            for branch in step.branches:
                if branch.node.name in given_up:
                    self._drop(branch)
                elif not self._branch(branch):
                    raise _Mismatch(f"node {step.name!r} is done, but its branch {branch.node.name!r} is not")
        elif step.kind in _OPAQUE:
            self._drop(step)
        return following

    def _drop(self, step: Step) -> None:
        """Take out all that is done within a node whose parts nobody asks for any more."""
        names = {one.name for one in every((step,))}
        self._left = {(name, item) for name, item in self._left if not _is_within(step, name, names)}


def _is_within(step: Step, name: str, names: set[str]) -> bool:
    return name in names or name.startswith(f"{step.name}.")


def _restored(codec: OutputCodec, record: NodeRecord) -> JsonValue:
    done = f"{_place(record.node, record.item)} is done"
    try:
        return codec.restore(record.output).value
    except InvalidOutputError as error:
        raise _Mismatch(f"{done}, but {error}") from error
    except Exception as error:
        raise _Mismatch(f"{done}, but its output can't be read any more ({type(error).__name__})") from error


def _place(name: str, item: int) -> str:
    return f"item {item} of node {name!r}" if item else f"node {name!r}"
