import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from events import JsonValue
from pipelines.limits import Limit
from pipelines.steps import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDescription:
    """A node as people are told of it. ``next``: the nodes that may follow, none where the run ends.

    ``name`` is what its results stand under: within a sub-pipeline, that one's name comes first (``outer.inner``).
    ``timeout`` is in seconds, of a wait the longest that it takes; None leaves it, as ``max_attempts``, to the
    pipeline's. ``summary`` is the first line of the class's docstring. ``nodes`` are the branches of a concurrent node,
    or what a sub-pipeline is made of.
    """

    name: str
    kind: Literal["node", "router", "concurrent", "map", "sub_pipeline", "wait", "sleep"]
    effects: bool
    timeout: float | None
    max_attempts: int | None
    next: tuple[str, ...]
    summary: str
    nodes: "tuple[NodeDescription, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDescription:
    """A limit as people are told of it: ``concurrency`` at once, ``starts`` in any ``per`` seconds, None any number."""

    name: str
    by: str | None
    concurrency: int | None
    starts: int | None
    per: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDescription:
    """A pipeline as people are told of it; the nodes stand in an order in which they can run.

    ``timeout``, ``lifetime`` and ``ttl`` are in seconds.
    """

    name: str
    version: int
    types: tuple[str, ...]
    queue: str
    timeout: float
    lifetime: float | None
    max_attempts: int
    limits: tuple[LimitDescription, ...]
    priority: int
    ttl: float | None
    unique: str | None
    start: str
    nodes: tuple[NodeDescription, ...]
    schema_name: str
    json_schema: dict[str, JsonValue]


def describe_steps(steps: Iterable[Step]) -> tuple[NodeDescription, ...]:
    """Describe each step."""
    return tuple(
        NodeDescription(
            name=step.name,
            kind=step.kind.value,
            effects=step.node.effects,
            timeout=step.wait or step.timeout,
            max_attempts=step.node.retry.max_attempts if step.node.retry else None,
            next=tuple(step.beside(target) for target in step.targets),
            summary=inspect.cleandoc(vars(step.node).get("__doc__") or "").partition("\n")[0],
            nodes=describe_steps(step.below),
        )
        for step in steps
    )


def describe_limit(limit: Limit) -> LimitDescription:
    """Describe a limit."""
    return LimitDescription(
        name=limit.name,
        by=limit.by,
        concurrency=limit.concurrency,
        starts=limit.rate.starts if limit.rate else None,
        per=limit.rate.per if limit.rate else None,
    )
