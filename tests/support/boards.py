"""The committed boards, read as Grafana reads them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser
from promql_parser import Expr, MatrixSelector, SubqueryExpr, VectorSelector

from observability.dashboards import FOLDER

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}

STATIC = {
    "$__rate_interval": "1m",
    "$__interval": "15s",
    "$__range": "1h",
    "$job": ".+",
    "$instance": ".+",
    "$pipeline": ".*",
    "$queue": ".*",
}
"""What Grafana fills in for a reader who chooses nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    expr: str
    model: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.board} / {self.panel} / {self.model['refId']}"

    def filled(self, **values: str) -> str:
        """The expression with its variables filled in, by ``STATIC`` where nothing else is given."""
        return filled(self.expr, **values)


def filled(expr: str, **values: str) -> str:
    """Fill in variables: ``filled("$job", job="api")``."""
    for name, value in (STATIC | {f"${name}": value for name, value in values.items()}).items():
        expr = re.sub(rf"{re.escape(name)}(?![a-z_])", lambda _, value=value: value, expr)
    return expr


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a board that show something."""
    yield from (panel for panel in board["panels"] if panel["type"] != "row")


def targets() -> Iterator[Target]:
    """Every query of every board."""
    for uid, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Target(uid, panel["title"], target["expr"], target)


def selectors(expr: str) -> list[tuple[VectorSelector, tuple[Expr, ...]]]:
    """Parse an expression; return its selectors, each with what is around it, the nearest last."""
    found: list[tuple[VectorSelector, tuple[Expr, ...]]] = []
    above: list[Expr] = []

    def enter(node: Expr) -> None:
        match node:
            case VectorSelector():
                found.append((node, tuple(above)))
            case MatrixSelector():
                found.append((node.vector_selector, (*above, node)))
        above.append(node)

    def leave(_node: Expr) -> None:
        above.pop()

    promql_parser.walk(promql_parser.parse(expr), enter, leave)
    return found


def is_ranged(node: Expr) -> bool:
    """Whether it gives a range of time."""
    return isinstance(node, MatrixSelector | SubqueryExpr)
