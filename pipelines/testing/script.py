import difflib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel

from events import Permanent, ThroughlineError
from pipelines.context import TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.node import Node
from pipelines.output import OutputCodec
from pipelines.pipeline import Pipeline
from pipelines.steps import Step

NodeKey: TypeAlias = type[Node[Any]] | str
"""A node's class, or the name it is recorded under."""

Answer: TypeAlias = Callable[[TaskContext[Any]], object]


class ScriptError(ThroughlineError):
    """A test's script doesn't fit the pipeline or what became of the run; the message says where."""


@dataclass(frozen=True, slots=True)
class InTurn:
    """What a node answers at one call after the other."""

    answers: tuple[object, ...]


def in_turn(*answers: object) -> InTurn:
    """Script a node's calls one after the other, each by an output, an exception or a function of the context.

    ``script={Charge: in_turn(ConnectionError("busy"), Receipt(number="R-1"))}`` fails once, then succeeds.
    """
    if not answers:
        raise ScriptError("in_turn() is empty; give an answer for each call")
    return InTurn(answers)


class Script:
    """What nodes answer instead of being called.

    Raises:
        ScriptError: it names a node that the pipeline doesn't have, or an output that isn't one of its node.

    """

    def __init__(self, pipeline: Pipeline[Any], given: Mapping[NodeKey, object]) -> None:
        self._answers: dict[str, tuple[Answer, ...]] = {}
        self._endless: set[str] = set()
        self._calls: Counter[str] = Counter()
        self.problem: str | None = None
        for key, wanted in given.items():
            for name in names_of(pipeline, key):
                turns = wanted.answers if isinstance(wanted, InTurn) else (wanted,)
                step = pipeline.all_steps[name]
                self._answers[name] = tuple(_answer(name, step.codec, one) for one in turns)
                if not isinstance(wanted, InTurn):
                    self._endless.add(name)

    def stand_in(self, _: Step, context: TaskContext[Any]) -> Answer | None:
        """See ``pipelines.surroundings.StandIn``."""
        name = context.node
        answers = self._answers.get(name)
        if answers is None:
            return None
        call = self._calls[name]
        self._calls[name] += 1
        if name in self._endless:
            return answers[0]
        if call < len(answers):
            return answers[call]
        self.problem = f"{name!r} is called more than the {len(answers)} times that in_turn(…) has answers for"
        return _raising(Permanent(self.problem))

    def check_used_up(self) -> None:
        """Refuse what was scripted for nothing.

        Raises:
            ScriptError: a node was never reached, was called too often, or not as often as it has answers.

        """
        if self.problem:
            raise ScriptError(self.problem)
        for name, answers in self._answers.items():
            called = self._calls[name]
            if not called:
                raise ScriptError(f"{name!r} is scripted, but the run never came to it")
            if name not in self._endless and called < len(answers):
                raise ScriptError(f"{name!r} has {len(answers)} answers in turn, but was called {called} times")


def names_of(pipeline: Pipeline[Any], key: NodeKey) -> tuple[str, ...]:
    """Return the names that a node has in a pipeline: one, or more where a class stands in several places.

    Raises:
        ScriptError: it has none there.

    """
    if isinstance(key, str):
        found: tuple[str, ...] = (key,) if key in pipeline.all_steps else ()
        wanted = key
    else:
        found = tuple(name for name, step in pipeline.all_steps.items() if step.node is key)
        wanted = getattr(key, "__qualname__", repr(key))
    if not found:
        name = key if isinstance(key, str) else getattr(key, "name", "")
        near = difflib.get_close_matches(str(name), pipeline.all_steps, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(pipeline.all_steps)}"
        raise ScriptError(f"pipeline {pipeline.name!r} has no node {wanted}{hint}")
    return found


def _answer(name: str, codec: OutputCodec, wanted: object) -> Answer:
    if isinstance(wanted, type) and issubclass(wanted, Node):
        wanted = wanted.name  # what a router chooses
    if isinstance(wanted, BaseException):
        return _raising(wanted)
    if isinstance(wanted, type) and issubclass(wanted, BaseException):
        return _raising(wanted())
    if callable(wanted) and not isinstance(wanted, BaseModel):
        return wanted
    text = output_text(name, codec, wanted)
    return lambda _: codec.decode(text)


def _raising(error: BaseException) -> Answer:
    def answer(_: TaskContext[Any]) -> object:
        raise error.with_traceback(None)

    return answer


def output_text(name: str, codec: OutputCodec, wanted: object) -> str:
    """Return an output that a test gives, a value of the node's type or its JSON, as JSON text.

    Raises:
        ScriptError: it is neither.

    """
    try:
        return codec.encode(wanted).text
    except InvalidOutputError as error:
        try:
            return codec.restore(wanted).text  # type: ignore[arg-type]  # or it says so
        except InvalidOutputError:
            raise ScriptError(f"the output that is given for {name!r} is none of its: it {error}") from None
