"""Making a step of a node class, having checked the class."""

import dis
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, cast, get_args

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError

from pipelines.checks import check_name, check_timeout, seconds_of
from pipelines.concurrent import ConcurrentNode
from pipelines.driven import DrivenNode
from pipelines.errors import InvalidNodeError, OutputTypeError
from pipelines.kind_checks import check_concurrent, check_map, check_sleep, check_sub_pipeline, check_wait
from pipelines.kinds import PUT_OFF, Kind, kind_of
from pipelines.limits import Limit, check_limits
from pipelines.node import Node, declared_output
from pipelines.output import OutputCodec
from pipelines.retry import check_retry
from pipelines.steps import Step, every, within
from pipelines.sub_pipeline import SubPipeline
from pipelines.waiting import Sleep, WaitForEvent

_WAITING: Final = frozenset({"GET_AWAITABLE", "SEND", "YIELD_VALUE", "YIELD_FROM", "GET_ANEXT"})
"""What ``await``, ``async for`` and ``async with`` are compiled to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where steps are made: the pipeline, by name, and the schema of its events."""

    pipeline: str
    schema: type[BaseModel]

    def place(self, node: type[Node[Any]]) -> str:
        """Say where a node stands, for a message."""
        return f"pipeline {self.pipeline!r}, node {node.name!r}"


def make_step(
    stage: Stage,
    node: type[Node[Any]],
    *,
    targets: tuple[str, ...] = (),
    skips: Mapping[str | None, tuple[str, ...]] | None = None,
) -> Step:
    """Check one node of a pipeline and return its step.

    Raises:
        PipelineError: the node can't be made, run, timed, limited or retried, or has no output type.

    """
    place, kind = stage.place(node), kind_of(node)
    if issubclass(node, DrivenNode) and node.run is not DrivenNode.run:
        raise InvalidNodeError(
            f"{place}: it has a run of its own, but what it is for is not one call; use a Node for that"
        )
    _check_constructor(place, node)
    if node.timeout is not None and kind not in PUT_OFF:
        check_timeout(place, seconds_of(node.timeout))
    if node.retry is not None:
        check_retry(place, node.retry)
    check_limits(place, node.limits, schema=stage.schema)
    method = "each" if kind is Kind.MAP else "run"
    function = getattr(node, method)
    step = Step(
        node=node,
        name=node.name,
        kind=kind,
        method=method,
        asynchronous=inspect.iscoroutinefunction(function),
        waits=_waits(function),
        codec=_codec(place, _declared(place, node)),
        timeout=None if node.timeout is None or kind in PUT_OFF else seconds_of(node.timeout),
        targets=targets,
        skips=skips or {},
        limits=node.limits,
    )
    return _completed(stage, step)


def check_node_name(pipeline: str, node: type[Node[Any]]) -> None:
    """Refuse a node whose name is none.

    Raises:
        InvalidNameError: see ``check_name``.

    """
    check_name(f"pipeline {pipeline!r}, node class {node.__qualname__}: the name", getattr(node, "name", None))


def _completed(stage: Stage, step: Step) -> Step:
    """Add to a step what its kind alone has."""
    node, place = step.node, stage.place(step.node)
    match step.kind:
        case Kind.CONCURRENT:
            return _concurrent(stage, step, cast("type[ConcurrentNode]", node))
        case Kind.MAP:
            check_map(place, node)
            (item,) = get_args(_declared(place, node))
            return replace(step, item_codec=_codec(place, item))
        case Kind.SUB_PIPELINE:
            return _sub_pipeline(stage, step, cast("type[SubPipeline[Any]]", node))
        case Kind.WAIT:
            return _wait(place, step, cast("type[WaitForEvent[Any]]", node))
        case Kind.SLEEP:
            check_sleep(place, cast("type[Sleep]", node))
    return step


def _concurrent(stage: Stage, step: Step, node: type[ConcurrentNode]) -> Step:
    check_concurrent(stage.place(node), node)
    branches = tuple(replace(make_step(stage, one), keeps_failure=node.keep_failures) for one in node.nodes)
    for inner in every(branches):
        if inner.kind in PUT_OFF:
            raise InvalidNodeError(
                f"{stage.place(node)}: {inner.name!r} waits without a worker, which no branch can; "
                "put it before or after"
            )
    limits = _merged(step.limits, *(one.limits for one in every(branches)))
    check_limits(stage.place(node), limits, schema=stage.schema)
    return replace(step, branches=branches, limits=limits)


def _sub_pipeline(stage: Stage, step: Step, node: type[SubPipeline[Any]]) -> Step:
    place = stage.place(node)
    check_sub_pipeline(place, node)
    pipeline = node.pipeline
    limits = _merged(step.limits, pipeline.limits)
    inner = {name: _limited(within(one, node.name), around=limits) for name, one in pipeline.steps.items()}
    for one in every(inner.values()):
        check_limits(f"{place}, inner node {one.name!r}", one.limits, schema=stage.schema)
    check_limits(place, limits, schema=stage.schema)
    return replace(
        step,
        codec=pipeline.steps[node.result.name].codec,
        inner=MappingProxyType(inner),
        inner_retry=node.retry or pipeline.retry,
        limits=limits,
        schema=pipeline.schema,
    )


def _limited(step: Step, *, around: tuple[Limit, ...]) -> Step:
    """Return an inner step whose run, held back there, is admitted again by the limits around it as well.

    Otherwise each admission would lack what the other asks for, and the run would never come past both.
    """
    return replace(
        step,
        limits=_merged(around, step.limits) if step.limits else (),
        branches=tuple(_limited(branch, around=around) for branch in step.branches),
        inner=MappingProxyType({name: _limited(one, around=around) for name, one in step.inner.items()}),
    )


def _wait(place: str, step: Step, node: type[WaitForEvent[Any]]) -> Step:
    schema, *others = [one for one in get_args(_declared(place, node)) if one is not type(None)] or [None]
    if others or not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise OutputTypeError(
            f"{place}: it waits for {_declared(place, node)}; "
            "write WaitForEvent[...] with the schema of the event's data"
        )
    check_wait(place, node, schema=schema)
    return replace(step, schema=schema, wait=seconds_of(node.timeout or 0.0))


def _merged(*limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    return tuple(dict.fromkeys(limit for some in limits for limit in some))


def _waits(run: object) -> bool:
    code = getattr(run, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:
        return True
    return any(instruction.opname in _WAITING for instruction in dis.get_instructions(code))


def _check_constructor(place: str, node: type[Node[Any]]) -> None:
    missing = sorted(getattr(node, "__abstractmethods__", ()))
    if missing:
        raise InvalidNodeError(f"{place}: {node.__qualname__} has no {', '.join(missing)}; write it")
    try:
        inspect.signature(node).bind()
    except TypeError as error:
        raise InvalidNodeError(
            f"{place}: a new instance is made for each call, but the constructor wants arguments ({error}); "
            "give them defaults, or make them class attributes"
        ) from None


def _declared(place: str, node: type[Node[Any]]) -> object:
    try:
        return declared_output(node)
    except TypeError:
        base = next(one for one in node.__mro__[1:] if one.__module__.startswith("pipelines."))
        types = ", ".join(parameter.__name__.removesuffix("T") for parameter in getattr(base, "__parameters__", ()))
        raise OutputTypeError(
            f"{place}: no output type; write class {node.__name__}({base.__name__}[{types or 'Something'}])"
        ) from None


def _codec(place: str, declared: object) -> OutputCodec:
    try:
        return OutputCodec(declared)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
        reason = str(error).splitlines()[0]
        raise OutputTypeError(
            f"{place}: its output type {declared} has no JSON form ({reason}); use a Pydantic model"
        ) from error
