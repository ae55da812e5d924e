"""What becomes of runs, and whether the account of them comes out even."""

from observability.alerts.plan import Plan
from observability.alerts.promql import grown
from observability.alerts.rule import Alert, Board, Rule, Severity


def alerts(plan: Plan) -> tuple[Rule, ...]:
    """Make the alerts on runs and their code."""
    return (
        _accounting(plan),
        _growing(
            plan,
            name="ThroughlineDeadRunsGrow",
            series="throughline_dead_runs",
            summary="Runs fail for good",
            description="{{ $value }} failed runs wait for somebody: more than half an hour ago.",
        ),
        _growing(
            plan,
            name="ThroughlineUnroutedEventsGrow",
            series="throughline_unrouted_events",
            summary="Events come in that no pipeline takes",
            description="{{ $value }} events wait for a pipeline that takes them: more than half an hour ago.",
        ),
        _retries(plan),
        _stale(plan),
        _blocked(plan),
    )


def _accounting(plan: Plan) -> Alert:
    return Alert(
        name="ThroughlineAccountingOff",
        expr='max(abs(throughline_accounting_runs{state="difference"})) > 0',
        lasted=plan.scale.span("5m"),
        severity=Severity.PAGE,
        board=Board.PIPELINES,
        summary="Accepted runs are neither open nor ended",
        description="The account of runs is off by {{ $value }}: some were lost, or counted twice.",
    )


def _growing(plan: Plan, *, name: str, series: str, summary: str, description: str) -> Alert:
    """By comparison with an earlier moment: a relay that has just started says 0 until it has counted."""
    return Alert(
        name=name,
        expr=f"max({series}) > max({series} offset {plan.scale.span('30m')})",
        lasted=plan.scale.span("5m"),
        severity=Severity.TICKET,
        board=Board.PIPELINES,
        summary=summary,
        description=description,
    )


def _retries(plan: Plan) -> Alert:
    window = plan.scale.span("10m")
    retried = f'throughline_runs_total{{outcome="retried"}}[{window}]'
    ended = f'throughline_runs_total{{outcome=~"succeeded|failed|retried"}}[{window}]'
    return Alert(
        name="ThroughlineRetryStorm",
        expr=(
            f"sum by (pipeline) (rate({retried})) / sum by (pipeline) (rate({ended})) > 0.5\n"
            f"and sum by (pipeline) (increase({retried})) > 20"
        ),
        lasted=plan.scale.span("5m"),
        severity=Severity.TICKET,
        board=Board.PIPELINES,
        shows="pipeline",
        summary="Most tries of {{ $labels.pipeline }} fail and are repeated",
        description="{{ $value | humanizePercentage }} of the tries of {{ $labels.pipeline }} in 10m ended in a retry.",
    )


def _stale(plan: Plan) -> Alert:
    return Alert(
        name="ThroughlineStaleWrites",
        expr=f"sum(increase(throughline_stale_writes_total[{plan.scale.span('15m')}])) > 10",
        lasted="0s",
        severity=Severity.TICKET,
        board=Board.QUEUES,
        summary="Workers lose their runs while they work on them",
        description="{{ $value | humanize }} writes in 15m came from workers whose runs had passed to others.",
    )


def _blocked(plan: Plan) -> Alert:
    return Alert(
        name="ThroughlineLoopBlocked",
        expr=grown("throughline_loop_blocked_total", plan.scale.span("15m"), by="pipeline, node") + " > 0",
        lasted="0s",
        severity=Severity.TICKET,
        board=Board.PIPELINES,
        shows="pipeline",
        summary="Node {{ $labels.node }} of {{ $labels.pipeline }} blocks its worker",
        description="It kept the event loop from its turn {{ $value | humanize }} times in 15m; at the limit the "
        "process is ended, with every run in it.",
    )
