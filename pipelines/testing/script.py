import difflib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from events import Permanent
from pipelines.context import TaskContext
from pipelines.node import Node
from pipelines.pipeline import Pipeline
from pipelines.steps import Step
from pipelines.testing.answers import Answer, ScriptError, answer_of, check_is_called, raising

NodeKey: TypeAlias = type[Node[Any]] | str
"""A node's class, or the name it is recorded under: ``outer.inner`` within a sub-pipeline."""


@dataclass(frozen=True, slots=True)
class InTurn:
    """What a node answers at one call after the other."""

    answers: tuple[object, ...]


def in_turn(*answers: object) -> InTurn:
    """Script a node's calls one after the other, each by an output, an exception or a function of the context.

    ``script={Charge: in_turn(ConnectionError("busy"), Receipt(number="R-1"))}`` fails once, then succeeds. Of a node
    that does its work for many items, each item has its own calls.
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
        self._calls: Counter[tuple[str, int]] = Counter()
        self._problem: str | None = None
        for key, wanted in given.items():
            for name in names_of(pipeline, key):
                step = pipeline.all_steps[name]
                check_is_called(step)
                turns = wanted.answers if isinstance(wanted, InTurn) else (wanted,)
                self._answers[name] = tuple(self._watched(answer_of(step, one)) for one in turns)
                if not isinstance(wanted, InTurn):
                    self._endless.add(name)

    def stand_in(self, step: Step, context: TaskContext[Any]) -> Answer | None:
        """See ``pipelines.surroundings.StandIn``."""
        answers = self._answers.get(step.name)
        if answers is None:
            return None
        call = self._calls[step.name, context.item]
        self._calls[step.name, context.item] += 1
        if step.name in self._endless:
            return answers[0]
        if call < len(answers):
            return answers[call]
        return self._ended(f"{step.name!r} is called more often than in_turn(…) has answers for: {len(answers)}")

    def _watched(self, answer: Answer) -> Answer:
        """Return ``answer`` so that an error of the script's own isn't taken for one of the node's."""

        def watched(*arguments: object) -> object:
            try:
                return answer(*arguments)
            except ScriptError as error:
                return self._ended(str(error))(*arguments)

        return watched

    def _ended(self, problem: str) -> Answer:
        self._problem = self._problem or problem
        return raising(Permanent(problem))

    def check_used_up(self, path: Collection[str]) -> None:
        """Refuse what was scripted for nothing in a run that went through the nodes of ``path``.

        Raises:
            ScriptError: a node was never reached, was called too often, or not as often as it has answers.

        """
        if self._problem:
            raise ScriptError(self._problem)
        for name, answers in self._answers.items():
            if name not in path:
                raise ScriptError(f"{name!r} is scripted, but the run never came to it")
            called = max((count for (node, _), count in self._calls.items() if node == name), default=0)
            if name not in self._endless and called < len(answers):
                raise ScriptError(f"{name!r} has {len(answers)} answers in turn, but was called {called} times")


def names_of(pipeline: Pipeline[Any], key: NodeKey) -> tuple[str, ...]:
    """Return the names that a node has in a pipeline: one, or more where a class stands in several places.

    Raises:
        ScriptError: it has none there.

    """
    steps = pipeline.all_steps
    if isinstance(key, str):
        found: tuple[str, ...] = (key,) if key in steps else ()
        wanted = key
    else:
        found = tuple(name for name, step in steps.items() if step.node is key)
        wanted = getattr(key, "__qualname__", repr(key))
    if not found:
        name = key if isinstance(key, str) else getattr(key, "name", "")
        near = difflib.get_close_matches(str(name), steps, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(steps)}"
        raise ScriptError(f"pipeline {pipeline.name!r} has no node {wanted}{hint}")
    return found


def name_of(pipeline: Pipeline[Any], key: NodeKey) -> str:
    """Return the one name that a node has in a pipeline.

    Raises:
        ScriptError: it has none there, or several.

    """
    names = names_of(pipeline, key)
    if len(names) > 1:
        raise ScriptError(f"pipeline {pipeline.name!r} has that node in several places; name one: {', '.join(names)}")
    return names[0]
