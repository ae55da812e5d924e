"""Panels, as plain data that Grafana reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from observability.dashboards.links import Link

DATASOURCE: Final = {"type": "prometheus", "uid": "${prometheus_datasource}"}
WIDTH: Final = 24

Model = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression of a panel. ``exemplar`` asks for the traces behind a histogram's observations as well."""

    expr: str
    legend: str = ""
    exemplar: bool = False

    def model(self, ref: str, **more: object) -> Model:
        """Return it as Grafana takes it."""
        return {
            "refId": ref,
            "datasource": DATASOURCE,
            "expr": self.expr,
            "legendFormat": self.legend or "__auto",
            "exemplar": self.exemplar,
            "editorMode": "code",
            "range": True,
            "instant": False,
        } | more


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel has. ``links`` open from a point of it, ``steps`` colour it from a value upwards.

    Below the first step it is ``base``.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    links: Sequence[Link] = ()
    steps: Sequence[tuple[float, str]] = ()
    base: str = "green"
    width: int = 8
    height: int = 8
    lowest: float | None = 0
    highest: float | None = None
    mappings: Sequence[Model] = field(default_factory=tuple)

    kind: Literal["timeseries", "stat", "heatmap"] = "timeseries"

    def model(self, number: int, x: int, y: int) -> Model:
        """Return it as Grafana takes it, as panel ``number`` of its board."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [
                query.model(chr(ord("A") + place), **self._query()) for place, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _query(self) -> Model:
        return {}

    def _options(self) -> Model:
        return {}

    def _custom(self) -> Model:
        return {}

    def _defaults(self) -> Model:
        steps = [
            {"color": self.base, "value": None},
            *({"color": color, "value": value} for value, color in self.steps),
        ]
        bounds = {"min": self.lowest, "max": self.highest}
        return {
            "unit": self.unit,
            "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "links": [link.model() for link in self.links],
            "mappings": list(self.mappings),
            "custom": self._custom(),
            **{name: bound for name, bound in bounds.items() if bound is not None},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Series(Panel):
    """Lines over time, or areas that are stacked up."""

    stacked: bool = False

    def _options(self) -> Model:
        return {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max", "lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def _custom(self) -> Model:
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if self.stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if self.steps else "off"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """One number now, coloured by ``steps``."""

    kind: Literal["timeseries", "stat", "heatmap"] = "stat"
    width: int = 4
    height: int = 4

    def _query(self) -> Model:
        return {"instant": True, "range": False}

    def _options(self) -> Model:
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "auto",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap(Panel):
    """A histogram over time; its exemplars open their traces."""

    kind: Literal["timeseries", "stat", "heatmap"] = "heatmap"
    width: int = 12

    def _query(self) -> Model:
        return {"format": "heatmap", "legendFormat": "{{le}}"}

    def _options(self) -> Model:
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "reverse": False},
            "exemplars": {"color": "rgba(31, 120, 193, 0.9)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }


UP_OR_DOWN: Final[tuple[Model, ...]] = (
    {
        "type": "value",
        "options": {
            "0": {"text": "away", "color": "red", "index": 0},
            "1": {"text": "up", "color": "green", "index": 1},
        },
    },
)
"""Words for a gauge that is 1 or 0."""
