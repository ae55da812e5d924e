from enum import StrEnum
from typing import Any, Final, TypeGuard

from pipelines.concurrent import ConcurrentNode
from pipelines.driven import DrivenNode
from pipelines.mapping import MapNode
from pipelines.node import Node
from pipelines.router import RouterNode
from pipelines.sub_pipeline import SubPipeline
from pipelines.waiting import Sleep, WaitForEvent


class Kind(StrEnum):
    """What a node is."""

    NODE = "node"
    ROUTER = "router"
    CONCURRENT = "concurrent"
    MAP = "map"
    SUB_PIPELINE = "sub_pipeline"
    WAIT = "wait"
    SLEEP = "sleep"


CALLED: Final = frozenset({Kind.NODE, Kind.ROUTER})
"""Kinds of which one call does all."""

PUT_OFF: Final = frozenset({Kind.WAIT, Kind.SLEEP})
"""Kinds that let go of their worker."""

_BY_BASE: Final[tuple[tuple[type[Node[Any]], Kind], ...]] = (
    (RouterNode, Kind.ROUTER),
    (ConcurrentNode, Kind.CONCURRENT),
    (MapNode, Kind.MAP),
    (SubPipeline, Kind.SUB_PIPELINE),
    (WaitForEvent, Kind.WAIT),
    (Sleep, Kind.SLEEP),
)
_BASES: Final = frozenset({Node, DrivenNode, *(base for base, _ in _BY_BASE)})


def kind_of(node: type[Node[Any]]) -> Kind:
    """Tell what a node is, by the class it is derived from."""
    return next((kind for base, kind in _BY_BASE if issubclass(node, base)), Kind.NODE)


def is_node_class(candidate: object) -> TypeGuard[type[Node[Any]]]:
    """Say whether ``candidate`` is a node class of somebody's, not a base that is offered to derive from."""
    return isinstance(candidate, type) and issubclass(candidate, Node) and candidate not in _BASES
