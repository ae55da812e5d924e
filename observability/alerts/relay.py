"""Whether what is due gets to the workers."""

from observability.alerts.plan import Plan
from observability.alerts.promql import grown
from observability.alerts.rule import Alert, Board, Rule, Severity

_LATEST = "throughline_relay_last_pass_timestamp_seconds"
_SLOWEST_PASS = 5.0


def alerts(plan: Plan) -> tuple[Rule, ...]:
    """Make the alerts on the relay."""
    return (_stalled(plan), _refused(plan))


def _stalled(plan: Plan) -> Alert:
    limit = plan.scale.seconds("1m", at_least=_SLOWEST_PASS)
    return Alert(
        name="ThroughlineRelayStalled",
        expr=f"time() - max({_LATEST}) > {limit:g}\nor absent({_LATEST})",
        lasted=plan.scale.span("2m"),
        severity=Severity.PAGE,
        board=Board.QUEUES,
        summary="No relay moves runs to the workers",
        description="No relay has looked for due runs and got through for minutes, or none is scraped.",
    )


def _refused(plan: Plan) -> Alert:
    return Alert(
        name="ThroughlinePublishErrors",
        expr=grown("throughline_publish_errors_total", plan.scale.span("10m"), by="queue") + " > 0",
        lasted="0s",
        severity=Severity.TICKET,
        board=Board.QUEUES,
        shows="queue",
        summary="Messages for queue {{ $labels.queue }} can't be sent",
        description="Redis did not take {{ $value | humanize }} messages for queue {{ $labels.queue }} in 10m.",
    )
