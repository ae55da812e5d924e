from observability.dashboards.board import Row
from observability.dashboards.panels import Query, Series
from observability.dashboards.promql import CPU_SECONDS, MEMORY, MOST_FILES, OPEN_FILES, Metric, select


def process_row(title: str, *, having: Metric | None = None) -> Row:
    """Return what the operating system tells of our processes: all, or those that have counted in ``having``."""
    return Row(
        title,
        (
            Series(
                title="CPU",
                description="Cores that each process keeps busy; one process can use little more than one.",
                unit="none",
                queries=(Query(expr=f"{_by_process(_rate())}{_only(having)}", legend="{{job}} {{instance}}"),),
            ),
            Series(
                title="Memory",
                description="Resident memory of each process.",
                unit="bytes",
                queries=(Query(expr=f"{_by_process(select(MEMORY))}{_only(having)}", legend="{{job}} {{instance}}"),),
            ),
            Series(
                title="Open files",
                description="Files and connections of each process, as a share of what it may have.",
                unit="percentunit",
                queries=(
                    Query(
                        expr=f"{_by_process(f'{select(OPEN_FILES)} / {select(MOST_FILES)}')}{_only(having)}",
                        legend="{{job}} {{instance}}",
                    ),
                ),
                steps=((0.8, "red"),),
            ),
        ),
    )


def _rate() -> str:
    return f"rate({select(CPU_SECONDS)}[$__rate_interval])"


def _by_process(expression: str) -> str:
    return f"sum by (job, instance) ({expression})"


def _only(having: Metric | None) -> str:
    if having is None:
        return ""
    suffix = "_count" if having.kind == "histogram" else ""
    counted = f"rate({select(having, suffix=suffix)}[$__rate_interval])"
    return f" and on (job, instance) sum by (job, instance) ({counted})"
