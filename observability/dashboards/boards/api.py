from typing import Final

from observability.dashboards.board import Board, Row
from observability.dashboards.boards.processes import process_row
from observability.dashboards.links import OF_A_ROUTE, logs
from observability.dashboards.panels import Heatmap, Query, Series, Stat
from observability.dashboards.promql import buckets, increase, mean, or_zero, quantile, rate, total
from observability.metrics import Metrics

_REQUESTS: Final = Metrics.http_request_duration
_SERVER_ERRORS: Final = "=~5.."
_API_LOGS: Final = logs("The API's log lines", '{service_name=~".*api"} | json')

API: Final = Board(
    uid="throughline-api",
    title="Throughline / API",
    description="Rate, errors and duration of requests, and the commits that events share.",
    rows=(
        Row(
            "Now",
            (
                Stat(
                    title="Requests",
                    description="Requests answered a second.",
                    unit="reqps",
                    queries=(Query(expr=rate(_REQUESTS)),),
                ),
                Stat(
                    title="Server errors",
                    description="Share of the requests that were answered by 5xx: a 503 while PostgreSQL is away, or "
                    "under "
                    "more load than can be stored in time.",
                    unit="percentunit",
                    queries=(
                        Query(
                            expr=f"({or_zero(rate(_REQUESTS, http_response_status_code=_SERVER_ERRORS))}) / "
                            f"{rate(_REQUESTS)}"
                        ),
                    ),
                    steps=((0.001, "orange"), (0.01, "red")),
                ),
                Stat(
                    title="POST /events, p99",
                    description="99 of 100 events were answered within this time.",
                    unit="s",
                    queries=(Query(expr=quantile(0.99, _REQUESTS, http_route="/events", http_request_method="POST")),),
                    steps=((0.25, "orange"), (1.0, "red")),
                ),
                Stat(
                    title="Accepted events",
                    description="Events stored a second.",
                    unit="ops",
                    queries=(Query(expr=rate(Metrics.events, outcome="accepted")),),
                ),
                Stat(
                    title="Rejected events",
                    description="Share of the events that were refused, because of what was in them.",
                    unit="percentunit",
                    queries=(
                        Query(expr=f"({or_zero(rate(Metrics.events, outcome='rejected'))}) / {rate(Metrics.events)}"),
                    ),
                    steps=((0.05, "orange"),),
                ),
                Stat(
                    title="Waiting requests",
                    description="Requests that wait for a commit at this moment.",
                    unit="short",
                    queries=(Query(expr=total(Metrics.ingest_waiting)),),
                ),
            ),
        ),
        Row(
            "Requests",
            (
                Series(
                    title="Rate by route",
                    description="Requests a second, by method and route.",
                    unit="reqps",
                    queries=(
                        Query(
                            expr=rate(_REQUESTS, by=("http_request_method", "http_route")),
                            legend="{{http_request_method}} {{http_route}}",
                        ),
                    ),
                    links=(*OF_A_ROUTE, _API_LOGS),
                    stacked=True,
                ),
                Series(
                    title="Rate by status",
                    description="Requests a second, by the status of the answer.",
                    unit="reqps",
                    queries=(
                        Query(
                            expr=rate(_REQUESTS, by=("http_response_status_code",)),
                            legend="{{http_response_status_code}}",
                        ),
                    ),
                    links=(_API_LOGS,),
                    stacked=True,
                ),
                Series(
                    title="Server errors by route",
                    description="Share of each route's requests that was answered by 5xx.",
                    unit="percentunit",
                    queries=(
                        Query(
                            expr=f"{rate(_REQUESTS, by=('http_route',), http_response_status_code=_SERVER_ERRORS)} / "
                            f"{rate(_REQUESTS, by=('http_route',))}",
                            legend="{{http_route}}",
                        ),
                    ),
                    links=(*OF_A_ROUTE, _API_LOGS),
                ),
                Heatmap(
                    title="Duration of POST /events",
                    description="How long it took to answer senders. A point is one request: it opens its trace.",
                    unit="s",
                    queries=(
                        Query(expr=buckets(_REQUESTS, http_route="/events", http_request_method="POST"), exemplar=True),
                    ),
                ),
                Series(
                    title="Duration of POST /events: p50, p95, p99",
                    description="The time within which half, 95 and 99 of 100 senders were answered.",
                    unit="s",
                    queries=tuple(
                        Query(
                            expr=quantile(share, _REQUESTS, http_route="/events", http_request_method="POST"),
                            legend=f"p{share * 100:.0f}",
                        )
                        for share in (0.5, 0.95, 0.99)
                    ),
                    width=6,
                ),
                Series(
                    title="p95 by route",
                    description="The time within which 95 of 100 requests were answered, by route.",
                    unit="s",
                    queries=(Query(expr=quantile(0.95, _REQUESTS, by=("http_route",)), legend="{{http_route}}"),),
                    links=OF_A_ROUTE,
                    width=6,
                ),
            ),
        ),
        Row(
            "Events",
            (
                Series(
                    title="Events by outcome",
                    description="What became of events at the door, a second.",
                    unit="ops",
                    queries=(Query(expr=rate(Metrics.events, by=("outcome",)), legend="{{outcome}}"),),
                    stacked=True,
                    width=6,
                ),
                Series(
                    title="Events by type",
                    description="Events that came in in the time shown, by type; what no pipeline takes is other.",
                    unit="short",
                    queries=(Query(expr=increase(Metrics.events, by=("type",)), legend="{{type}}"),),
                    width=6,
                ),
                Series(
                    title="Events in a commit",
                    description="How many events share a commit: more under load, which is what makes it cheap.",
                    unit="short",
                    queries=(
                        Query(expr=mean(Metrics.ingest_flush_events), legend="mean"),
                        Query(expr=quantile(0.95, Metrics.ingest_flush_events), legend="p95"),
                    ),
                    width=6,
                ),
                Series(
                    title="Requests that wait for a commit",
                    description="By process. What waits longer than is allowed is answered by 503.",
                    unit="short",
                    queries=(Query(expr=total(Metrics.ingest_waiting, by=("instance",)), legend="{{instance}}"),),
                    width=6,
                ),
                Heatmap(
                    title="Duration of a commit",
                    description="How long PostgreSQL took to store the events of one commit.",
                    unit="s",
                    queries=(Query(expr=buckets(Metrics.ingest_flush_duration)),),
                    width=24,
                ),
            ),
        ),
        process_row("The API's processes", having=_REQUESTS),
    ),
)
