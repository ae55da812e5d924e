import difflib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from events import ConfigurationError, JsonValue, NodeStatus, Permanent
from pipelines import NodeRecord, Pipeline, TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.output import OutputCodec
from pipelines.steps import Step
from throughline.trial.made_up import made_up

GIVEN = "its output was given"
MADE_UP = "it has effects and was not called; its output is made up"


class Answers:
    """What is answered in the place of nodes: what was given for them, and for nodes with effects something made up.

    ``used`` says why, for each that was answered for. ``taken_over`` is what was given for nodes that no single call
    makes, such as a wait or a sub-pipeline: as if an earlier try had done them.

    Raises:
        ConfigurationError: an output was given for no node of the pipeline, or isn't one of its type.

    """

    def __init__(
        self, pipeline: Pipeline[Any], *, given: Mapping[str, JsonValue] | None = None, effects: bool = False
    ) -> None:
        self._effects = effects
        self._given = dict(given or {})
        self.used: dict[str, str] = {}
        self.taken_over: dict[tuple[str, int], NodeRecord] = {}
        steps = pipeline.all_steps
        for name, value in self._given.items():
            if name not in steps:
                near = difflib.get_close_matches(name, steps, n=1) or list(steps)
                raise ConfigurationError(f"pipeline {pipeline.name!r} has no node {name!r}; it has {', '.join(near)}")
            try:
                steps[name].codec.restore(value)
            except InvalidOutputError as error:
                raise ConfigurationError(f"the output given for {name!r} is none of its: {error}") from None
            if not steps[name].called:
                self._take_over(name, value)

    def _take_over(self, name: str, value: JsonValue) -> None:
        record = NodeRecord(node=name, status=NodeStatus.SUCCEEDED, output=value, started_at=datetime.now(UTC))
        self.taken_over[name, 0] = record
        self.used[name] = GIVEN

    def stand_in(self, step: Step, context: TaskContext[Any]) -> Callable[..., object] | None:
        """Return what to call in a node's place; None for its own code. See ``pipelines.surroundings``."""
        if step.name in self._given:
            self.used[step.name] = GIVEN
            return _answering(step.codec, self._given[step.name])
        if self._effects or not step.node.effects:
            return None
        self.used[step.name] = MADE_UP
        codec = (step.item_codec if context.item else None) or step.codec
        try:
            return _answering(codec, made_up(codec))
        except (InvalidOutputError, LookupError, TypeError):
            return _refusing(step.name)


def _answering(codec: OutputCodec, value: JsonValue) -> Callable[..., object]:
    text = codec.restore(value).text
    return lambda *_: codec.decode(text)


def _refusing(name: str) -> Callable[..., object]:
    def refuse(*_: object) -> object:
        raise Permanent(
            f"{name!r} has effects and was not called, and no output could be made up for it; "
            f"give one with --output {name}=JSON, or call it with --effects"
        )

    return refuse
