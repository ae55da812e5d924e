"""Whether what is told of the system can be believed."""

from observability.alerts.plan import Plan
from observability.alerts.promql import grown
from observability.alerts.rule import Alert, Board, Rule, Severity


def alerts(plan: Plan) -> tuple[Rule, ...]:
    """Make the alerts on telemetry."""
    return (_down(plan), _dropped(plan))


def _down(plan: Plan) -> Alert:
    return Alert(
        name="ThroughlineTargetDown",
        expr='up{job=~"throughline-.+"} == 0',
        lasted=plan.scale.span("5m"),
        severity=Severity.TICKET,
        board=Board.TELEMETRY,
        summary="{{ $labels.instance }} of {{ $labels.job }} can't be scraped",
        description="Its metrics are missing from every dashboard and alert; the process may be gone or stuck.",
    )


def _dropped(plan: Plan) -> Alert:
    return Alert(
        name="ThroughlineSpansDropped",
        expr=grown("throughline_spans_dropped_total", plan.scale.span("15m"), by="job, reason") + " > 0",
        lasted=plan.scale.span("5m"),
        severity=Severity.TICKET,
        board=Board.TELEMETRY,
        summary="Spans of {{ $labels.job }} are lost",
        description="{{ $value | humanize }} spans in 15m got to no collector: {{ $labels.reason }}.",
    )
