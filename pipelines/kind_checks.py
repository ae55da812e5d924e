"""What must hold of a node class of each kind, apart from its place in the graph."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pipelines.checks import check_types, is_count, is_seconds, seconds_of
from pipelines.concurrent import ConcurrentNode
from pipelines.errors import CycleError, InvalidNodeError, InvalidTimeoutError, OutputTypeError
from pipelines.kinds import Kind, is_node_class, kind_of
from pipelines.node import Node, declared_output
from pipelines.paths import check_path
from pipelines.steps import Step, every
from pipelines.sub_pipeline import SubPipeline
from pipelines.waiting import LONGEST_WAIT, Sleep, WaitForEvent


def check_concurrent(place: str, node: type[ConcurrentNode]) -> None:
    """Refuse a concurrent node without branches, or with what can be none.

    Raises:
        InvalidNodeError: it is one.

    """
    branches: object = getattr(node, "nodes", None)
    if not isinstance(branches, tuple) or not branches:
        raise InvalidNodeError(f"{place}: nodes is {branches!r}; give a tuple of the node classes to run side by side")
    for branch in branches:
        if not is_node_class(branch):
            raise InvalidNodeError(f"{place}: nodes holds {branch!r}; use node classes")
        if kind_of(branch) is Kind.ROUTER:
            raise InvalidNodeError(
                f"{place}: the router {branch.name!r} can't be a branch, since a branch leads nowhere; put it after"
            )
    if node.limit is not None and not is_count(node.limit):
        raise InvalidNodeError(
            f"{place}: limit is {node.limit!r}; give a whole number from 1 up, or None for all at once"
        )


def check_map(place: str, node: Any) -> None:
    """Refuse a map whose numbers make no sense.

    Raises:
        InvalidNodeError: they make none.

    """
    for name in ("limit", "max_items"):
        value = getattr(node, name)
        if not is_count(value):
            raise InvalidNodeError(f"{place}: {name} is {value!r}; give a whole number from 1 up")


def check_sub_pipeline(place: str, node: type[SubPipeline[Any]]) -> None:
    """Refuse a sub-pipeline that is none, stands within itself, or may end without its result.

    Raises:
        InvalidNodeError: it is none, or has no such result. ``OutputTypeError`` and ``CycleError`` likewise.

    """
    inner: Any = getattr(node, "pipeline", None)
    steps = getattr(inner, "steps", None)
    if not isinstance(steps, Mapping):
        raise InvalidNodeError(f"{place}: pipeline is {inner!r}; give the Pipeline that it runs")
    if any(step.node is node for step in every(steps.values())):
        raise CycleError(f"{place}: it stands within the pipeline {inner.name!r} that it runs; take it out there")
    result: Any = getattr(node, "result", None)
    if not (is_node_class(result) and result.name in steps and steps[result.name].node is result):
        raise InvalidNodeError(
            f"{place}: result is {result!r}; give the node of pipeline {inner.name!r} whose output is this node's"
        )
    if end := _end_without(steps, inner.start.name, result.name):
        raise InvalidNodeError(
            f"{place}: pipeline {inner.name!r} may end in {end!r} without its result {result.name!r}; "
            "name a node that every way leads through"
        )
    declared, given = declared_output(node), declared_output(result)
    if declared != given:
        raise OutputTypeError(
            f"{place}: its output type is {_shown(declared)}, but {result.name!r} gives back {_shown(given)}; "
            "write the same"
        )


def check_wait(place: str, node: type[WaitForEvent[Any]], *, schema: type[BaseModel]) -> None:
    """Refuse a wait for no event type, by no path, or without an end.

    Raises:
        PipelineError: it is one.

    """
    awaited: object = getattr(node, "type", None)
    if not isinstance(awaited, str) or awaited.endswith("*"):
        raise InvalidNodeError(f"{place}: type is {awaited!r}; give one event type, such as 'shop.order_approved'")
    check_types(place, (awaited,))
    check_path(f"{place}: match", getattr(node, "match", None), schema=schema)
    _check_duration(place, "timeout", node.timeout)
    _check_no_limits(place, node)


def check_sleep(place: str, node: type[Sleep]) -> None:
    """Refuse a sleep that is not told how long, or for too long.

    Raises:
        PipelineError: it is one.

    """
    if node.seconds is Sleep.seconds:
        _check_duration(place, "duration", getattr(node, "duration", None))
    _check_no_limits(place, node)


def _check_duration(place: str, name: str, duration: Any) -> None:
    seconds = seconds_of(duration)
    if not is_seconds(seconds) or seconds > LONGEST_WAIT:
        raise InvalidTimeoutError(
            f"{place}: {name} is {duration!r}; give seconds above 0 or a timedelta, 366 days at most"
        )


def _check_no_limits(place: str, node: type[Node[Any]]) -> None:
    if node.limits:
        raise InvalidNodeError(f"{place}: it does nothing that a limit could hold back; give limits to what follows")


def _end_without(steps: Mapping[str, Step], start: str, result: str) -> str | None:
    """Return a node in which a way from ``start`` that avoids ``result`` ends; None if there is none."""
    waiting, seen = [start], {result}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        step = steps[name]
        if not step.targets or None in step.skips:
            return name
        waiting.extend(step.targets)
    return None


def _shown(declared: object) -> str:
    return getattr(declared, "__name__", None) or str(declared)
