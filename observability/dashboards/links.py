"""Where a panel leads: to traces, to log lines, and to the runs themselves."""

import json
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from observability import attributes

_VARIABLE: Final = re.compile(r"(\$\{[^}]*\})")
_PIPELINE: Final = "${__field.labels.pipeline}"


@dataclass(frozen=True, slots=True)
class Link:
    """A title, and an address in which Grafana fills in ``${…}``."""

    title: str
    url: str

    def model(self) -> dict[str, object]:
        """Return it as Grafana takes it."""
        return {"title": self.title, "url": self.url, "targetBlank": True}


def traces(title: str, query: str) -> Link:
    """Lead to Tempo with a TraceQL query, for the board's time."""
    return Link(title, _explore("tempo", {"queryType": "traceql", "query": query}))


def logs(title: str, query: str) -> Link:
    """Lead to Loki with a LogQL query, for the board's time."""
    return Link(title, _explore("loki", {"queryType": "range", "expr": query}))


def runs(title: str, **parameters: str) -> Link:
    """Lead to the API's list of runs."""
    return Link(title, "${api_url}/runs?" + "&".join(f"{name}={value}" for name, value in parameters.items()))


def _explore(kind: str, query: dict[str, str]) -> str:
    uid = f"${{{kind}_datasource}}"
    target = {"refId": "A", "datasource": {"type": kind, "uid": uid}, **query}
    pane = {"datasource": uid, "queries": [target], "range": {"from": "${__from}", "to": "${__to}"}}
    parts = _VARIABLE.split(json.dumps({"one": pane}, separators=(",", ":")))
    encoded = "".join(part if _VARIABLE.fullmatch(part) else quote(part, safe="") for part in parts)
    return f"/explore?schemaVersion=1&orgId=1&panes={encoded}"


OF_A_PIPELINE: Final = (
    traces("Traces of the pipeline", f'{{ span.{attributes.PIPELINE} = "{_PIPELINE}" }}'),
    logs("Log lines of the pipeline", f'{{service_name=~".+"}} | json | pipeline="{_PIPELINE}"'),
    runs("Runs of the pipeline", pipeline=_PIPELINE),
    runs("Its failed runs", pipeline=_PIPELINE, status="failed"),
)
"""For series that have the label ``pipeline``."""

OF_A_NODE: Final = (
    traces(
        "Traces of the node",
        f'{{ span.{attributes.PIPELINE} = "{_PIPELINE}" && span.{attributes.NODE} = "${{__field.labels.node}}" }}',
    ),
    *OF_A_PIPELINE[1:],
)
"""For series that have the labels ``pipeline`` and ``node``."""

OF_A_ROUTE: Final = (
    traces("Traces of the route", f'{{ span.{attributes.HTTP_ROUTE} = "${{__field.labels.http_route}}" }}'),
)
"""For series that have the label ``http_route``."""

DEAD_RUNS: Final = (runs("Dead runs", status="failed", replayed="false"),)
"""For what counts runs that wait for somebody."""
