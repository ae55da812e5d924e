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
    BlockSource,
    DropReason,
    EventOutcome,
    NodeOutcome,
    PutOff,
    QueueState,
    RowState,
    RunOutcome,
    Sli,
    SlotState,
    TransactionEnd,
    VersionOutcome,
    WaitEnd,
    event_type_label,
    method_label,
)
from observability.metrics.readings import ReadingFamily

__all__ = [
    "AccountState",
    "BlockSource",
    "DropReason",
    "EventOutcome",
    "Metrics",
    "MetricsPortError",
    "MetricsServer",
    "NodeOutcome",
    "PutOff",
    "QueueState",
    "ReadingFamily",
    "RowState",
    "RunOutcome",
    "Sli",
    "SlotState",
    "TransactionEnd",
    "VersionOutcome",
    "WaitEnd",
    "catalogue",
    "event_type_label",
    "method_label",
    "null_metrics",
    "process_registry",
    "render",
    "render_catalogue_markdown",
    "serve_metrics",
]
