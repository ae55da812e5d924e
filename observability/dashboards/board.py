"""A board: rows of panels, the variables that they use, and the way to the other boards."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from observability.dashboards.panels import DATASOURCE, WIDTH, Model, Panel
from observability.dashboards.promql import UP, Metric
from observability.metrics import Metrics

TAG: Final = "throughline"
API_URL: Final = "http://127.0.0.1:8000"
_SCHEMA: Final = 39
"""Grafana 11's; later ones bring it up to date by themselves."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, from left to right and line by line."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard. ``uid`` never changes: alerts and bookmarks name it."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    since: str = "now-1h"

    def model(self) -> Model:
        """Return it as Grafana takes it."""
        panels = list(_laid_out(self.rows))
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": _SCHEMA,
            "version": 1,
            "editable": False,
            "timezone": "utc",
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "graphTooltip": 1,
            "annotations": {"list": []},
            "links": _links(),
            "templating": {"list": _variables(json.dumps(panels))},
            "panels": panels,
        }

    def text(self) -> str:
        """Return the file's text."""
        return json.dumps(self.model(), indent=2, ensure_ascii=False) + "\n"


def _laid_out(rows: Sequence[Row]) -> Iterator[Model]:
    number, y = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        number, y, x, tallest = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            yield panel.model(number, x, y)
            number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
        y += tallest


def _links() -> list[Model]:
    boards = {"type": "dashboards", "title": "Boards", "tags": [TAG], "asDropdown": True, "icon": "external link"}
    runs = {"type": "link", "title": "Runs", "url": "${api_url}/runs", "icon": "doc", "tags": []}
    dead = {"type": "link", "title": "Dead runs", "url": "${api_url}/runs?status=failed&replayed=false", "icon": "doc"}
    kept = {"includeVars": True, "keepTime": True, "targetBlank": False}
    return [boards | kept, *({"tags": [], "targetBlank": True} | link for link in (runs, dead))]


def _variables(panels: str) -> list[Model]:
    by_use = {
        "pipeline": _labels("pipeline", Metrics.runs, matchers='{job=~"$job"}', all_value=".*"),
        "queue": _labels("queue", Metrics.redis_queue_messages, matchers='{job=~"$job"}', all_value=".*"),
    }
    return [
        *(_datasource(kind) for kind in ("prometheus", "loki", "tempo")),
        _labels("job", Metrics.spans_exported),
        _labels("instance", UP, matchers='{job=~"$job"}'),
        *(variable for name, variable in by_use.items() if f"${name}" in panels),
        {
            "type": "textbox",
            "name": "api_url",
            "label": "API's address",
            "query": API_URL,
            "current": {"text": API_URL, "value": API_URL},
            "options": [{"selected": True, "text": API_URL, "value": API_URL}],
            "hide": 0,
            "skipUrlSync": False,
        },
    ]


def _datasource(kind: str) -> Model:
    return {
        "type": "datasource",
        "name": f"{kind}_datasource",
        "label": f"{kind.title()} data source",
        "query": kind,
        "current": {},
        "options": [],
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def _labels(name: str, metric: Metric, *, matchers: str = "", all_value: str = ".+") -> Model:
    query = f"label_values({metric.name}{matchers}, {name})"
    return {
        "type": "query",
        "name": name,
        "label": name.title(),
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "includeAll": True,
        "allValue": all_value,
        "multi": True,
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }
