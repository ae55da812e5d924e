from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from observability.alerts.plan import Links


class Severity(StrEnum):
    """Whether somebody is woken or finds it in the morning."""

    PAGE = "page"
    TICKET = "ticket"


class Board(StrEnum):
    """The dashboards, by uid."""

    SLO = "throughline-slo"
    API = "throughline-api"
    QUEUES = "throughline-queues"
    PIPELINES = "throughline-pipelines"
    STORES = "throughline-stores"
    TELEMETRY = "throughline-telemetry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A series that Prometheus computes and keeps."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, links: Links) -> dict[str, object]:
        """Return the rule as it stands in a rule file."""
        del links
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.record, "expr": self.expr, **labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that somebody is to be told of, once it has ``lasted`` (a span of PromQL).

    ``summary`` and ``description`` are templates. ``shows`` is the label that the dashboard is opened for.
    """

    name: str
    expr: str
    lasted: str
    severity: Severity
    board: Board
    summary: str
    description: str
    shows: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, links: Links) -> dict[str, object]:
        """Return the rule as it stands in a rule file."""
        shown = f"?var-{self.shows}={{{{ $labels.{self.shows} }}}}" if self.shows else ""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasted,
            "labels": {"severity": self.severity.value, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{links.runbook}#{self.name.lower()}",
                "dashboard_url": f"{links.dashboards}/d/{self.board.value}{shown}",
            },
        }


Rule: TypeAlias = Recording | Alert
