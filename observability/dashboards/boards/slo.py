from typing import Final

from observability.dashboards.board import Board, Row
from observability.dashboards.links import OF_A_PIPELINE, Link
from observability.dashboards.panels import Panel, Query, Series, Stat
from observability.dashboards.promql import BUDGET, BURNS, ERRORS, SLO_EVENTS, Rule, increase, rate, select

_LIMITS: Final = (("1h", 14.4), ("6h", 6.0), ("1d", 3.0), ("3d", 1.0))
"""Windows and the burn rates from which they alert."""
_BY: Final = ("sli", "pipeline")
_QUEUES: Final = (Link("Queues, relay and workers", "/d/throughline-queues"),)


def _worst(rule: Rule, *, by: tuple[str, ...] = _BY) -> str:
    return f"max by ({', '.join(by)}) ({select(rule)})"


def _burn_panel(window: str, limit: float) -> Panel:
    return Stat(
        title=f"Burn rate, {window}",
        description=f"How fast the worst pipeline uses its error budget up, by the last {window}: 1 uses it up in 30 "
        f"days. From {limit:g} on, and over the shorter window too, it alerts.",
        unit="none",
        queries=(Query(expr=_worst(BURNS[window], by=("sli",)), legend="{{sli}}"),),
        steps=((limit / 2, "orange"), (limit, "red")),
        width=6,
        height=5,
    )


SLO: Final = Board(
    uid="throughline-slo",
    title="Throughline / SLO and error budget",
    description="Whether what was promised is kept: ingest, queueing and execution, each on its own.",
    since="now-6h",
    rows=(
        Row(
            "Error budget",
            (
                Stat(
                    title="Error budget left of 30 days",
                    description="1 is untouched, below 0 the target is missed. Each five minutes in which anything "
                    "came count alike, however much it was.",
                    unit="percentunit",
                    queries=(
                        Query(
                            expr=f"min by (sli, pipeline) (1 - avg_over_time({select(BURNS['1h'])}[30d:5m]))",
                            legend="{{sli}} {{pipeline}}",
                        ),
                    ),
                    links=OF_A_PIPELINE,
                    steps=((0.0, "orange"), (0.25, "green")),
                    base="red",
                    lowest=None,
                    highest=1,
                    width=16,
                    height=6,
                ),
                Stat(
                    title="Targets",
                    description="The share of good events that is promised; where pipelines differ, the lowest.",
                    unit="percentunit",
                    queries=(Query(expr=f"min by (sli) (1 - {select(BUDGET)})", legend="{{sli}}"),),
                    width=8,
                    height=6,
                ),
            ),
        ),
        Row(
            "Burn rates",
            (
                *(_burn_panel(window, limit) for window, limit in _LIMITS),
                Series(
                    title="Burn rate by pipeline, 1h",
                    description="How fast each pipeline uses its error budget up, by the last hour. 14.4 pages.",
                    unit="none",
                    queries=(Query(expr=_worst(BURNS["1h"]), legend="{{sli}} {{pipeline}}"),),
                    links=(*OF_A_PIPELINE, *_QUEUES),
                    steps=((14.4, "red"),),
                    width=12,
                ),
                Series(
                    title="Burn rate by pipeline, 5m",
                    description="The same by the last five minutes: whether it still goes on.",
                    unit="none",
                    queries=(Query(expr=_worst(BURNS["5m"]), legend="{{sli}} {{pipeline}}"),),
                    links=(*OF_A_PIPELINE, *_QUEUES),
                    steps=((14.4, "red"),),
                    width=12,
                ),
            ),
        ),
        Row(
            "What it is made of",
            (
                Series(
                    title="Error ratio, 5m",
                    description="The share of bad events in the last five minutes.",
                    unit="percentunit",
                    queries=(
                        Query(
                            expr=_worst(ERRORS["5m"]),
                            legend="{{sli}} {{pipeline}}",
                        ),
                    ),
                    links=OF_A_PIPELINE,
                ),
                Series(
                    title="Events by SLI",
                    description="What is counted a second, good and bad, for each SLI.",
                    unit="ops",
                    queries=(Query(expr=rate(SLO_EVENTS, by=("sli", "good")), legend="{{sli}} good={{good}}"),),
                    stacked=True,
                ),
                Series(
                    title="Bad events in the time shown",
                    description="How many events were bad, by SLI and pipeline, in the whole time that the board "
                    "shows.",
                    unit="short",
                    queries=(
                        Query(
                            expr=increase(SLO_EVENTS, by=("sli", "pipeline"), good="false"),
                            legend="{{sli}} {{pipeline}}",
                        ),
                    ),
                    links=OF_A_PIPELINE,
                ),
            ),
        ),
    ),
)
