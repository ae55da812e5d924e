from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError as FoundCycle
from graphlib import TopologicalSorter
from typing import Any, TypeAlias

from pydantic import BaseModel

from pipelines.concurrent import ConcurrentNode
from pipelines.errors import (
    CycleError,
    DuplicateNodeError,
    InvalidRouteError,
    MissingNodeError,
    NoStartError,
    RouterEdgeError,
    UnreachableNodeError,
)
from pipelines.kinds import is_node_class
from pipelines.node import Node
from pipelines.router import Route, RouterNode, targets_of
from pipelines.stepping import Stage, check_node_name, make_step
from pipelines.steps import Step

NodeClass: TypeAlias = type[Node[Any]]
_Graph: TypeAlias = dict[NodeClass, tuple[NodeClass, ...]]


def build_steps(
    pipeline: str, *, start: NodeClass | None, edges: Mapping[NodeClass, NodeClass], schema: type[BaseModel]
) -> dict[str, Step]:
    """Check the graph of a pipeline and return its steps by name, each after those that lead to it.

    Raises:
        PipelineError: the graph is not one way from one start to its ends.

    """
    if not is_node_class(start):
        raise NoStartError(f"pipeline {pipeline!r}: start is {start!r}; give the node class that runs first")
    graph = _graph(pipeline, start, edges)
    _check_names(pipeline, graph)
    order = _order(pipeline, graph)
    reached = _reachable(graph, start)
    for node in graph:
        if node not in reached:
            raise UnreachableNodeError(
                f"pipeline {pipeline!r}: nothing leads to node {node.name!r}; add an edge or route to it, or drop it"
            )
    stage = Stage(pipeline=pipeline, schema=schema)
    return {
        node.name: make_step(
            stage, node, targets=tuple(target.name for target in graph[node]), skips=_skips(graph, node)
        )
        for node in order
    }


def _graph(pipeline: str, start: NodeClass, edges: Mapping[NodeClass, NodeClass]) -> _Graph:
    graph: _Graph = {}
    waiting = [start, *edges]
    while waiting:
        node = waiting.pop(0)
        if node not in graph:
            graph[node] = _targets(pipeline, node, edges)
            waiting.extend(graph[node])
    return graph


def _targets(pipeline: str, node: NodeClass, edges: Mapping[NodeClass, NodeClass]) -> tuple[NodeClass, ...]:
    if not is_node_class(node):
        raise MissingNodeError(f"pipeline {pipeline!r}: an edge starts at {node!r}; use a node class")
    if issubclass(node, RouterNode):
        _check_router(pipeline, node, has_edge=node in edges)
        return targets_of(node)
    target = edges.get(node)
    if node in edges and not is_node_class(target):
        raise MissingNodeError(
            f"pipeline {pipeline!r}, node {node.name!r}: its edge leads to {target!r}; use a node class, "
            "or leave the edge out where the run ends"
        )
    return () if target is None else (target,)


def _check_router(pipeline: str, router: type[RouterNode], *, has_edge: bool) -> None:
    place = f"pipeline {pipeline!r}, router {router.name!r}"
    if has_edge:
        raise RouterEdgeError(f"{place}: a router has no edge; name the node in its routes or as its fallback")
    routes = getattr(router, "routes", ())
    if not isinstance(routes, tuple) or not routes or not all(isinstance(route, Route) for route in routes):
        raise InvalidRouteError(f"{place}: routes is {routes!r}; give a tuple with a Route(to=..., when=...) or more")
    if not hasattr(router, "fallback"):
        raise InvalidRouteError(f"{place}: no fallback; name the node for all other cases, or None to end there")
    for route in routes:
        if not is_node_class(route.to):
            raise MissingNodeError(f"{place}: a route leads to {route.to!r}; use a node class")
        if not callable(route.when):
            raise InvalidRouteError(f"{place}: when of the route to {route.to.name!r} can't be called; give a function")
    if router.fallback is not None and not is_node_class(router.fallback):
        raise MissingNodeError(f"{place}: its fallback is {router.fallback!r}; use a node class, or None")


def _check_names(pipeline: str, graph: _Graph) -> None:
    seen: dict[str, NodeClass] = {}
    for node in _standing(graph):
        check_node_name(pipeline, node)
        if seen.get(node.name) is node:
            raise DuplicateNodeError(
                f"pipeline {pipeline!r}, node {node.name!r}: {node.__qualname__} stands in it twice; "
                "derive a class with a name of its own for one of the places"
            )
        if node.name in seen:
            raise DuplicateNodeError(
                f"pipeline {pipeline!r}: {seen[node.name].__qualname__} and {node.__qualname__} are both named "
                f"{node.name!r}; set name on one of them"
            )
        seen[node.name] = node


def _standing(nodes: Iterable[NodeClass]) -> Iterator[NodeClass]:
    """Yield the nodes and, after each concurrent one, its branches; what can be none is left to be told of later."""
    for node in nodes:
        yield node
        branches = getattr(node, "nodes", ()) if issubclass(node, ConcurrentNode) else ()
        yield from _standing(filter(is_node_class, branches if isinstance(branches, tuple) else ()))


def _order(pipeline: str, graph: _Graph) -> tuple[NodeClass, ...]:
    try:
        return tuple(reversed(tuple(TopologicalSorter(graph).static_order())))
    except FoundCycle as found:
        way = " -> ".join(node.name for node in reversed(found.args[1]))
        raise CycleError(
            f"pipeline {pipeline!r}: nodes run in a circle: {way}; take one of these edges or routes away"
        ) from None


def _reachable(graph: _Graph, *starts: NodeClass) -> dict[NodeClass, None]:
    reached: dict[NodeClass, None] = {}
    waiting = list(starts)
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached[node] = None
            waiting.extend(graph[node])
    return reached


def _skips(graph: _Graph, node: NodeClass) -> dict[str | None, tuple[str, ...]]:
    if not issubclass(node, RouterNode):
        return {}
    possible = _reachable(graph, *graph[node])
    choices: dict[str | None, dict[NodeClass, None]] = {to.name: _reachable(graph, to) for to in graph[node]}
    if node.fallback is None:
        choices[None] = {}
    return {choice: tuple(other.name for other in possible if other not in kept) for choice, kept in choices.items()}
