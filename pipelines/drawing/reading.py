import functools
import inspect
from collections.abc import Iterator
from typing import Any, Final

from pipelines.drawing.picture import Arrow, Figure, Kind, Picture
from pipelines.node import Node
from pipelines.pipeline import Pipeline
from pipelines.router import RouterNode
from pipelines.steps import Step

_EVENT: Final = ":event"
_END: Final = ":end"


def picture_of(pipeline: Pipeline[Any]) -> Picture:
    """Return what a pipeline looks like: from the event that it takes, through its nodes, to the end."""
    event = Figure(key=_EVENT, kind=Kind.EVENT, title=", ".join(pipeline.types))
    graph = _graph(pipeline)
    first = Arrow(source=_EVENT, target=pipeline.start.name)
    return Picture(figures=(event, *graph.figures), arrows=(first, *graph.arrows))


def _graph(pipeline: Pipeline[Any], *, within: str = "") -> Picture:
    figures = tuple(_figure(step, within) for step in pipeline.steps.values())
    arrows = tuple(arrow for step in pipeline.steps.values() for arrow in _arrows(step, within))
    end = Figure(key=within + _END, kind=Kind.END, summary="the run ends")
    return Picture(figures=(*figures, end), arrows=arrows)


def _figure(step: Step, within: str) -> Figure:
    node = step.node
    return Figure(
        key=within + step.name,
        kind=Kind.ROUTER if step.routes else Kind.NODE,
        title=step.name,
        summary=_summary(node),
        effects=node.effects,
    )


def _arrows(step: Step, within: str) -> Iterator[Arrow]:
    for target, label in _ways(step).items():
        yield Arrow(source=within + step.name, target=within + (_END if target is None else target), label=label)


def _ways(step: Step) -> dict[str | None, str]:
    if issubclass(step.node, RouterNode):
        return _routes(step.node)
    return dict.fromkeys(step.targets, "") or {None: ""}


def _routes(router: type[RouterNode]) -> dict[str | None, str]:
    """Return what leads where: the names of the conditions, in the order in which they are asked."""
    conditions: dict[str | None, list[str]] = {}
    for route in router.routes:
        conditions.setdefault(route.to.name, []).append(_name(route.when))
    conditions.setdefault(router.fallback.name if router.fallback else None, []).append("otherwise")
    return {target: " or ".join(names) for target, names in conditions.items()}


def _name(condition: Any) -> str:
    while isinstance(condition, functools.partial):
        condition = condition.func
    name = getattr(condition, "__name__", type(condition).__name__)
    return "a condition" if name == "<lambda>" else name


def _summary(node: type[Node[Any]]) -> str:
    return inspect.cleandoc(node.__doc__ or "").partition("\n")[0]
