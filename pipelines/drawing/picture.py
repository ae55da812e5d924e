"""A pipeline as figures and arrows, which ``mermaid`` writes and ``svg`` draws."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a figure stands for, told by its shape."""

    EVENT = "event"
    NODE = "node"
    ROUTER = "router"
    CONCURRENT = "concurrent"
    MAP = "map"
    PIPELINE = "pipeline"
    WAIT = "wait"
    SLEEP = "sleep"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing in a picture; ``key`` is the name that a node's result is kept under.

    ``note`` stands below the title, ``summary`` is told when one points at it, ``inner`` is drawn within it.
    """

    key: str
    kind: Kind
    title: str = ""
    note: str = ""
    summary: str = ""
    effects: bool = False
    inner: "Picture | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """A way from one figure to another; ``label`` says when it is taken."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Figures, each after those that lead to it, and the arrows between them."""

    figures: tuple[Figure, ...]
    arrows: tuple[Arrow, ...] = ()
