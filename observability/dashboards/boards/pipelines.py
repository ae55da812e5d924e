from typing import Final

from observability.dashboards.board import Board, Row
from observability.dashboards.links import OF_A_NODE, OF_A_PIPELINE
from observability.dashboards.panels import Heatmap, Query, Series, Stat
from observability.dashboards.promql import buckets, increase, mean, or_zero, quantile, rate
from observability.metrics import Metrics

_FINAL: Final = "=~succeeded|failed|cancelled"

_NOW: Final = Row(
    "Now",
    (
        Stat(
            title="Ended runs",
            description="Runs that reached their end, a second.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.runs, outcome=_FINAL)),),
        ),
        Stat(
            title="Succeeded",
            description="Share of the ended runs that succeeded.",
            unit="percentunit",
            queries=(
                Query(
                    expr=f"({or_zero(rate(Metrics.runs, outcome='succeeded'))}) / {rate(Metrics.runs, outcome=_FINAL)}"
                ),
            ),
        ),
        Stat(
            title="Failed in the time shown",
            description="Runs that ended failed in the whole time that the board shows.",
            unit="short",
            queries=(Query(expr=or_zero(increase(Metrics.runs, outcome="failed"))),),
            steps=((1.0, "orange"),),
        ),
        Stat(
            title="Tries for a run",
            description="How many tries a run takes until its end; 1 is without any retry.",
            unit="none",
            queries=(
                Query(
                    expr=f"{rate(Metrics.runs, outcome='=~succeeded|failed|cancelled|retried')} / "
                    f"{rate(Metrics.runs, outcome=_FINAL)}"
                ),
            ),
            steps=((1.5, "orange"), (3.0, "red")),
        ),
        Stat(
            title="End to end, p50",
            description="Half of the runs ended within this time of their event's acceptance.",
            unit="s",
            queries=(Query(expr=quantile(0.5, Metrics.run_end_to_end)),),
        ),
        Stat(
            title="End to end, p95",
            description="95 of 100 runs ended within this time of their event's acceptance.",
            unit="s",
            queries=(Query(expr=quantile(0.95, Metrics.run_end_to_end)),),
        ),
    ),
)

_RUNS: Final = Row(
    "Runs",
    (
        Series(
            title="Tries by outcome",
            description="How tries of runs ended, a second; failed is for good.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.runs, by=("outcome",)), legend="{{outcome}}"),),
            stacked=True,
        ),
        Series(
            title="Ended runs by pipeline",
            description="Runs that reached their end, a second.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.runs, by=("pipeline",), outcome=_FINAL), legend="{{pipeline}}"),),
            links=OF_A_PIPELINE,
            stacked=True,
        ),
        Series(
            title="Failed and retried by pipeline",
            description="Tries that failed for good or are tried again, a second.",
            unit="ops",
            queries=(
                Query(
                    expr=rate(Metrics.runs, by=("pipeline", "outcome"), outcome="=~failed|retried"),
                    legend="{{pipeline}} {{outcome}}",
                ),
            ),
            links=OF_A_PIPELINE,
        ),
        Heatmap(
            title="End to end",
            description="From the event's acceptance to the run's end, retries included. A point is one run: it opens "
            "its "
            "trace.",
            unit="s",
            queries=(Query(expr=buckets(Metrics.run_end_to_end), exemplar=True),),
        ),
        Heatmap(
            title="Duration of a try",
            description="From claimed to ended. A point is one run: it opens its trace.",
            unit="s",
            queries=(Query(expr=buckets(Metrics.run_duration), exemplar=True),),
        ),
        Series(
            title="End to end, p95 by pipeline",
            description="95 of 100 runs ended within this time of their event's acceptance.",
            unit="s",
            queries=(Query(expr=quantile(0.95, Metrics.run_end_to_end, by=("pipeline",)), legend="{{pipeline}}"),),
            links=OF_A_PIPELINE,
        ),
        Series(
            title="Duration of a try, p95 by pipeline",
            description="95 of 100 tries took no longer than this.",
            unit="s",
            queries=(Query(expr=quantile(0.95, Metrics.run_duration, by=("pipeline",)), legend="{{pipeline}}"),),
            links=OF_A_PIPELINE,
        ),
        Series(
            title="Success by pipeline",
            description="Share of each pipeline's ended runs that succeeded.",
            unit="percentunit",
            queries=(
                Query(
                    expr=f"{rate(Metrics.runs, by=('pipeline',), outcome='succeeded')} / "
                    f"{rate(Metrics.runs, by=('pipeline',), outcome=_FINAL)}",
                    legend="{{pipeline}}",
                ),
            ),
            links=OF_A_PIPELINE,
            highest=1,
        ),
    ),
)

_NODES: Final = Row(
    "Nodes",
    (
        Heatmap(
            title="Duration of a node",
            description="How long nodes took. A point is one node of one run: it opens the run's trace.",
            unit="s",
            queries=(Query(expr=buckets(Metrics.node_duration), exemplar=True),),
        ),
        Series(
            title="Duration, p95 by node",
            description="95 of 100 calls of the node took no longer than this.",
            unit="s",
            queries=(
                Query(
                    expr=quantile(0.95, Metrics.node_duration, by=("pipeline", "node")),
                    legend="{{pipeline}} {{node}}",
                ),
            ),
            links=OF_A_NODE,
            width=12,
        ),
        Series(
            title="Calls by node",
            description="Calls of each node a second.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.node_duration, by=("pipeline", "node")), legend="{{pipeline}} {{node}}"),),
            links=OF_A_NODE,
        ),
        Series(
            title="Failed calls by node",
            description="Calls of each node that raised an error, a second.",
            unit="ops",
            queries=(
                Query(
                    expr=rate(Metrics.node_duration, by=("pipeline", "node"), outcome="failed"),
                    legend="{{pipeline}} {{node}}",
                ),
            ),
            links=OF_A_NODE,
        ),
        Series(
            title="Mean duration by node",
            description="The mean of each node's calls.",
            unit="s",
            queries=(Query(expr=mean(Metrics.node_duration, by=("pipeline", "node")), legend="{{pipeline}} {{node}}"),),
            links=OF_A_NODE,
        ),
    ),
)

PIPELINES: Final = Board(
    uid="throughline-pipelines",
    title="Throughline / Pipelines and nodes",
    description="What runs did, how long they and their nodes took, and what failed.",
    rows=(_NOW, _RUNS, _NODES),
)
