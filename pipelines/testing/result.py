from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from events import Cancelled, ErrorInfo, Failed, FailureKind, JsonValue, NodeStatus, RunStatus, Succeeded
from pipelines.journal import NodeRecord
from pipelines.node import Node
from pipelines.pipeline import Pipeline
from pipelines.testing.life import Attempt, Life, Wait
from pipelines.testing.script import NodeKey, name_of
from pipelines.testing.story import differing, story
from pipelines.testing.ways import way

OutputT = TypeVar("OutputT")

_STATUS = {Succeeded: RunStatus.SUCCEEDED, Failed: RunStatus.FAILED, Cancelled: RunStatus.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a run: a test asks it, or lets it assert.

    ``duration``: the seconds that the run took in all, on the fake clock. ``left`` are the types of the arriving events
    that ended no wait.
    """

    pipeline: Pipeline[Any]
    life: Life
    duration: float
    left: tuple[str, ...] = ()

    @property
    def outcome(self) -> Succeeded | Failed | Cancelled:
        """How the run ended."""
        return self.life.outcome

    @property
    def status(self) -> RunStatus:
        """The state that it ended in."""
        return _STATUS[type(self.outcome)]

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the nodes that ran, well or not, each once, in the order in which they first began.

        What is made of others, a concurrent node or a sub-pipeline, stands before these.
        """
        return way(self.life.records, self.pipeline)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the nodes that were left out because of the way that a router chose."""
        ran = set(self.path)
        found = (record.node for record in self.life.records if record.status is NodeStatus.SKIPPED)
        return tuple(name for name in dict.fromkeys(found) if name not in ran)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The run's tries."""
        return self.life.attempts

    @property
    def waits(self) -> tuple[Wait, ...]:
        """The times for which it was put off without an error."""
        return self.life.waits

    @property
    def errors(self) -> tuple[ErrorInfo, ...]:
        """The errors of its tries, the one that ended it last."""
        return tuple(attempt.error for attempt in self.attempts if attempt.error is not None)

    @property
    def outputs(self) -> dict[str, JsonValue]:
        """What the nodes that are done gave back, by their names, as JSON."""
        return {record.node: record.output for record in self._done()}

    @property
    def stopped(self) -> str | None:
        """Why a node ended the run by ``Stop``; None if none did."""
        for record in self.life.records:
            if record.status is NodeStatus.STOPPED and isinstance(record.output, Mapping):
                return str(record.output.get("reason"))
        return None

    def _done(self) -> Iterator[NodeRecord]:
        return (one for one in self.life.records if one.status is NodeStatus.SUCCEEDED and one.item == 0)

    def output(self, node: type[Node[OutputT]]) -> OutputT:
        """Return what a node gave back, as it comes back from JSON.

        Raises:
            ScriptError: the pipeline has no such node, or more than one of the class.
            AssertionError: it gave nothing back in this run.

        """
        __tracebackhide__ = True
        name = name_of(self.pipeline, node)
        for record in self._done():
            if record.node == name:
                codec = self.pipeline.all_steps[name].codec
                found: OutputT = codec.decode(codec.restore(record.output).text)
                return found
        raise AssertionError(f"{name!r} gave nothing back\n{self}")

    def assert_succeeded(self) -> None:
        """Let the test fail, and show what befell the run, unless it succeeded."""
        __tracebackhide__ = True
        if self.status is not RunStatus.SUCCEEDED:
            raise AssertionError(f"the run {self.status}\n{self}")

    def assert_failed(
        self,
        *,
        kind: FailureKind | str | None = None,
        node: NodeKey | None = None,
        error: type[BaseException] | str | None = None,
        match: str | None = None,
    ) -> None:
        """Let the test fail unless the run failed, of this ``kind``, in this ``node``, by this ``error``.

        ``error`` is an exception's class, exactly, or the name of one; ``match`` must stand in its message.
        """
        __tracebackhide__ = True
        found = self.outcome.error if isinstance(self.outcome, Failed) else None
        if found is None:
            raise AssertionError(f"the run {self.status}, and was to fail\n{self}")
        wanted: list[tuple[str, object, object, Callable[[Any, Any], bool]]] = [
            ("kind", kind, str(getattr(self.outcome, "kind", "")), str.__eq__),
            ("node", node if node is None else name_of(self.pipeline, node), found.node, str.__eq__),
            ("error", getattr(error, "__qualname__", error), found.type, str.__eq__),
            ("message", match, found.message, lambda part, whole: part in whole),
        ]
        wrong = [
            f"  {what}: {expected!s} was expected, it is {there!s}"
            for what, expected, there, fits in wanted
            if expected is not None and not (there is not None and fits(str(expected), str(there)))
        ]
        if wrong:
            raise AssertionError("\n".join(["the run failed in another way", *wrong, str(self)]))

    def assert_path(self, *nodes: NodeKey, any_order: bool = False) -> None:
        """Let the test fail, and show the difference, unless just these nodes ran, in this order or in any."""
        __tracebackhide__ = True
        expected = [name_of(self.pipeline, node) for node in nodes]
        ran = list(self.path)
        if any_order:
            expected, ran = sorted(expected), sorted(ran)
        if expected != ran:
            difference = differing(expected, ran)
            raise AssertionError(f"the run went another way (- expected, + ran)\n{difference}\n{self}")

    def __str__(self) -> str:
        return f"the run's story:\n{story(self.life, self.path, left=self.left)}"
