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

    ``timeout`` is in seconds; None leaves it, as ``max_attempts``, to the pipeline's. ``summary`` is the first line of
    the class's docstring.
    """

    name: str
    kind: Literal["node", "router"]
    effects: bool
    timeout: float | None
    max_attempts: int | None
    next: tuple[str, ...]
    summary: str


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
            kind="router" if step.routes else "node",
            effects=step.node.effects,
            timeout=step.node.timeout,
            max_attempts=step.node.retry.max_attempts if step.node.retry else None,
            next=step.targets,
            summary=inspect.cleandoc(step.node.__doc__ or "").partition("\n")[0],
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
