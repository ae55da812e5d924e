from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from events import JsonValue
from pipelines.errors import InvalidOutputError
from pipelines.kinds import CALLED, Kind
from pipelines.limits import Limit
from pipelines.node import Node
from pipelines.output import OutputCodec
from pipelines.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node in its place in a pipeline: all that running it needs, found out once.

    ``name`` is what its results are kept under, with the names of the sub-pipelines around it; in ``targets`` and
    ``skips``, as in the mapping that holds the step, nodes have their own names.
    ``method`` is what a call of it calls, ``waits`` is False where that is an ``async def`` without an ``await``:
    nothing can come between its beginning and its end. ``timeout`` is in seconds.
    ``targets`` are the nodes that may follow. ``skips`` tells, for each that a router may choose (None: the run ends),
    which nodes will then never run.
    ``branches`` are those of a concurrent node, ``keeps_failure`` says of a branch that its final error ends nothing.
    ``inner`` are the steps of a sub-pipeline. ``item_codec`` is for the single results of a map. ``schema`` is of what
    comes from outside: a sub-pipeline's data, an awaited event's. ``wait`` is how many seconds it waits for that event.
    """

    node: type[Node[Any]]
    name: str
    kind: Kind
    method: str
    asynchronous: bool
    waits: bool
    codec: OutputCodec
    timeout: float | None = None
    targets: tuple[str, ...] = ()
    skips: Mapping[str | None, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    limits: tuple[Limit, ...] = ()
    branches: "tuple[Step, ...]" = ()
    keeps_failure: bool = False
    inner: "Mapping[str, Step]" = field(default_factory=lambda: MappingProxyType({}))
    inner_retry: RetryPolicy | None = None
    item_codec: OutputCodec | None = None
    schema: type[BaseModel] | None = None
    wait: float = 0.0

    @property
    def called(self) -> bool:
        """Whether one call does all."""
        return self.kind in CALLED

    @property
    def below(self) -> "Iterable[Step]":
        """Its branches or inner steps."""
        return self.branches or self.inner.values()

    def beside(self, name: str) -> str:
        """Return what the results of the node ``name``, beside this one, are kept under."""
        return self.name[: len(self.name) - len(self.node.name)] + name

    def next(self, output: JsonValue) -> str | None:
        """Return the name of the node that follows this output; None ends the run.

        Raises:
            InvalidOutputError: a router chose what it does not declare.

        """
        if self.kind is not Kind.ROUTER:
            return self.targets[0] if self.targets else None
        choice = output if isinstance(output, str) else None
        if choice not in self.skips:
            raise InvalidOutputError(
                f"chose {choice!r}; its routes and fallback allow {', '.join(map(repr, self.skips))}"
            )
        return choice


def every(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield each step, followed by all that stand within it."""
    for step in steps:
        yield step
        yield from every(step.below)


def within(step: Step, outer: str) -> Step:
    """Return a step of a pipeline as it stands in the sub-pipeline ``outer`` of another one."""
    return replace(
        step,
        name=f"{outer}.{step.name}",
        branches=tuple(within(branch, outer) for branch in step.branches),
        inner=MappingProxyType({name: within(inner, outer) for name, inner in step.inner.items()}),
    )
