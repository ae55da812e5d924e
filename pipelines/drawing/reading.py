import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from pipelines.checks import seconds_of
from pipelines.concurrent import ConcurrentNode
from pipelines.drawing.picture import Arrow, Figure, Kind, Picture
from pipelines.kinds import Kind as NodeKind
from pipelines.mapping import MapNode
from pipelines.pipeline import Pipeline
from pipelines.router import RouterNode
from pipelines.steps import Step
from pipelines.sub_pipeline import SubPipeline
from pipelines.waiting import WaitForEvent

_EVENT: Final = ":event"
_END: Final = ":end"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

KINDS: Final[Mapping[NodeKind, Kind]] = {
    NodeKind.NODE: Kind.NODE,
    NodeKind.ROUTER: Kind.ROUTER,
    NodeKind.CONCURRENT: Kind.CONCURRENT,
    NodeKind.MAP: Kind.MAP,
    NodeKind.SUB_PIPELINE: Kind.PIPELINE,
    NodeKind.WAIT: Kind.WAIT,
    NodeKind.SLEEP: Kind.SLEEP,
}


def picture_of(pipeline: Pipeline[Any]) -> Picture:
    """Return what a pipeline looks like: from the event that it takes, through its nodes, to the end."""
    event = Figure(key=_EVENT, kind=Kind.EVENT, title=", ".join(pipeline.types))
    graph = _graph(pipeline.steps.values())
    first = Arrow(source=_EVENT, target=pipeline.start.name)
    return Picture(figures=(event, *graph.figures), arrows=(first, *graph.arrows))


def _graph(steps: Iterable[Step]) -> Picture:
    every = tuple(steps)
    end = Figure(
        key=every[0].beside(_END), kind=Kind.END, summary="the run ends" if every[0].name.count(".") == 0 else ""
    )
    arrows = tuple(arrow for step in every for arrow in _arrows(step))
    return Picture(figures=(*map(_figure, every), end), arrows=arrows)


def _figure(step: Step) -> Figure:
    node, inner = step.node, None
    if step.branches:
        inner = Picture(figures=tuple(map(_figure, step.branches)))
    elif step.inner:
        inner = _graph(step.inner.values())
    return Figure(
        key=step.name,
        kind=KINDS[step.kind],
        title=node.name,
        note=_NOTES.get(step.kind, _limits)(step),
        summary=inspect.cleandoc(vars(node).get("__doc__") or "").partition("\n")[0],
        effects=node.effects,
        inner=inner,
    )


def _arrows(step: Step) -> Iterator[Arrow]:
    for target, label in _ways(step).items():
        yield Arrow(source=step.name, target=step.beside(_END if target is None else target), label=label)


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


def _limits(step: Step) -> str:
    names = ", ".join(limit.name for limit in step.limits)
    return f"limited by {names}" if names else ""


def _concurrent(step: Step) -> str:
    node = cast("type[ConcurrentNode]", step.node)
    bound = "" if node.limit is None else f", {node.limit} at once"
    return f"side by side{bound}" + (", goes on without what fails" if node.keep_failures else "")


def _map(step: Step) -> str:
    return f"each item, {cast('type[MapNode[Any, Any]]', step.node).limit} at once"


def _sub_pipeline(step: Step) -> str:
    inner = cast("type[SubPipeline[Any]]", step.node).pipeline
    return f"pipeline {inner.name} v{inner.version}"


def _wait(step: Step) -> str:
    return f"for {cast('type[WaitForEvent[Any]]', step.node).type}, {_duration(step.wait)} at most"


def _sleep(step: Step) -> str:
    duration = getattr(step.node, "duration", None)
    return "for a time that it computes" if duration is None else f"for {_duration(seconds_of(duration))}"


def _duration(seconds: float) -> str:
    """Return a duration in the largest unit that divides it: ``48 h``, ``90 s``."""
    size, unit = next((one for one in _UNITS if seconds >= one[0] and seconds % one[0] == 0), _UNITS[-1])
    return f"{seconds / size:g} {unit}"


_NOTES: Final[Mapping[NodeKind, Callable[[Step], str]]] = {
    NodeKind.CONCURRENT: _concurrent,
    NodeKind.MAP: _map,
    NodeKind.SUB_PIPELINE: _sub_pipeline,
    NodeKind.WAIT: _wait,
    NodeKind.SLEEP: _sleep,
}
