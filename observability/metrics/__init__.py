"""Prometheus metrics: a typed catalogue, and how it is served."""

from observability.metrics.catalogue import Metrics, catalogue, null_metrics
from observability.metrics.documentation import render_catalogue_markdown
from observability.metrics.exposition import (
    MetricsPortError,
    MetricsServer,
    process_registry,
    render,
    serve_metrics,
)
from observability.metrics.labels import (
    AccountState,
    DropReason,
    EventOutcome,
    NodeOutcome,
    QueueState,
    RunOutcome,
    Sli,
    SlotState,
    event_type_label,
    method_label,
)

__all__ = [
    "AccountState",
    "DropReason",
    "EventOutcome",
    "Metrics",
    "MetricsPortError",
    "MetricsServer",
    "NodeOutcome",
    "QueueState",
    "RunOutcome",
    "Sli",
    "SlotState",
    "catalogue",
    "event_type_label",
    "method_label",
    "null_metrics",
    "process_registry",
    "render",
    "render_catalogue_markdown",
    "serve_metrics",
]
