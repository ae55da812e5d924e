from typing import Final

from observability.dashboards.board import Board, Row
from observability.dashboards.boards.processes import process_row
from observability.dashboards.links import logs
from observability.dashboards.panels import UP_OR_DOWN, Query, Series, Stat
from observability.dashboards.promql import (
    SCRAPE_SECONDS,
    SCRAPE_SERIES,
    STARTED,
    UP,
    highest,
    lowest,
    or_zero,
    rate,
    total,
)
from observability.metrics import Metrics

_DROPPED: Final = or_zero(rate(Metrics.spans_dropped))
_EXPORTER_LOGS: Final = logs(
    "Log lines of the exporter", '{service_name=~".+"} | json | logger=~"observability.tracing.*"'
)
_ALL_LOGS: Final = logs("Warnings and errors", '{service_name=~".+"} | json | level=~"warning|error|critical"')

TELEMETRY: Final = Board(
    uid="throughline-telemetry",
    title="Throughline / Telemetry",
    description="Whether what the other boards show can be believed: scrapes, series and spans.",
    rows=(
        Row(
            "Now",
            (
                Stat(
                    title="Processes scraped",
                    description="Processes that Prometheus reaches.",
                    unit="short",
                    queries=(Query(expr=total(UP)),),
                ),
                Stat(
                    title="All reached",
                    description="Whether Prometheus reaches every process that it knows of.",
                    unit="none",
                    queries=(Query(expr=lowest(UP)),),
                    mappings=UP_OR_DOWN,
                ),
                Stat(
                    title="Spans exported",
                    description="Spans that a collector took, a second.",
                    unit="ops",
                    queries=(Query(expr=rate(Metrics.spans_exported)),),
                ),
                Stat(
                    title="Spans dropped",
                    description="Share of the spans that no collector got.",
                    unit="percentunit",
                    queries=(Query(expr=f"({_DROPPED}) / ({rate(Metrics.spans_exported)} + ({_DROPPED}) > 0)"),),
                    steps=((0.0001, "orange"), (0.01, "red")),
                ),
                Stat(
                    title="Series",
                    description="Series that a scrape of all processes brings.",
                    unit="short",
                    queries=(Query(expr=total(SCRAPE_SERIES)),),
                ),
                Stat(
                    title="Slowest scrape",
                    description="How long the slowest process takes to tell its metrics.",
                    unit="s",
                    queries=(Query(expr=highest(SCRAPE_SECONDS)),),
                    steps=((1.0, "orange"), (5.0, "red")),
                ),
            ),
        ),
        Row(
            "Spans",
            (
                Series(
                    title="Exported by process",
                    description="Spans that a collector took, a second.",
                    unit="ops",
                    queries=(
                        Query(expr=rate(Metrics.spans_exported, by=("job", "instance")), legend="{{job}} {{instance}}"),
                    ),
                    links=(_EXPORTER_LOGS,),
                    width=12,
                ),
                Series(
                    title="Dropped by reason",
                    description="Spans that no collector got, a second: the queue was full, the export failed, or the "
                    "process "
                    "ended.",
                    unit="ops",
                    queries=(
                        Query(expr=rate(Metrics.spans_dropped, by=("job", "reason")), legend="{{job}} {{reason}}"),
                    ),
                    links=(_EXPORTER_LOGS,),
                    width=12,
                ),
            ),
        ),
        Row(
            "Scrapes",
            (
                Series(
                    title="Reached",
                    description="1 while Prometheus reaches the process.",
                    unit="none",
                    queries=(Query(expr=lowest(UP, by=("job", "instance")), legend="{{job}} {{instance}}"),),
                    links=(_ALL_LOGS,),
                    highest=1,
                    width=6,
                ),
                Series(
                    title="Duration of a scrape",
                    description="How long each process takes to tell its metrics.",
                    unit="s",
                    queries=(
                        Query(expr=highest(SCRAPE_SECONDS, by=("job", "instance")), legend="{{job}} {{instance}}"),
                    ),
                    width=6,
                ),
                Series(
                    title="Series",
                    description="How many series each process has. Labels are closed sets: it levels off.",
                    unit="short",
                    queries=(
                        Query(expr=highest(SCRAPE_SERIES, by=("job", "instance")), legend="{{job}} {{instance}}"),
                    ),
                    width=6,
                ),
                Series(
                    title="Age of the processes",
                    description="Time since each process started; a saw is a process that is started over and over.",
                    unit="s",
                    queries=(
                        Query(
                            expr=f"time() - {highest(STARTED, by=('job', 'instance'))}", legend="{{job}} {{instance}}"
                        ),
                    ),
                    links=(_ALL_LOGS,),
                    width=6,
                ),
            ),
        ),
        process_row("Processes"),
    ),
)
