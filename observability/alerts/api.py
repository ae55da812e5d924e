"""What the API answers."""

from observability.alerts.plan import Plan
from observability.alerts.rule import Alert, Board, Rule, Severity

_REQUESTS = "http_server_request_duration_seconds_count"
_SEND = 'http_request_method="POST",http_route="/events"'


def alerts(plan: Plan) -> tuple[Rule, ...]:
    """Make the alerts on the API."""
    return (_errors(plan), _shedding(plan))


def _errors(plan: Plan) -> Alert:
    window = plan.scale.span("5m")
    faults = f'{_REQUESTS}{{http_response_status_code=~"5..",http_response_status_code!="503"}}[{window}]'
    return Alert(
        name="ThroughlineApiErrors",
        expr=(f"sum(rate({faults})) / sum(rate({_REQUESTS}[{window}])) > 0.02\nand sum(increase({faults})) >= 5"),
        lasted=plan.scale.span("5m"),
        severity=Severity.TICKET,
        board=Board.API,
        summary="The API answers with errors of its own",
        description="{{ $value | humanizePercentage }} of the requests of 5m were answered 5xx other than 503.",
    )


def _shedding(plan: Plan) -> Alert:
    window = plan.scale.span("5m")
    turned_away = f'{_REQUESTS}{{{_SEND},http_response_status_code="503"}}[{window}]'
    return Alert(
        name="ThroughlineApiTurnsEventsAway",
        expr=(
            f"sum(rate({turned_away})) / sum(rate({_REQUESTS}{{{_SEND}}}[{window}])) > 0.01\n"
            f"and sum(increase({turned_away})) >= 5"
        ),
        lasted=plan.scale.span("5m"),
        severity=Severity.TICKET,
        board=Board.API,
        summary="The API turns events away",
        description="{{ $value | humanizePercentage }} of the requests with events of 5m were answered 503.",
    )
