"""What waits, and whether somebody works on it."""

import re

from observability.alerts.plan import Plan
from observability.alerts.promql import due, grown
from observability.alerts.rule import Alert, Board, Recording, Rule, Severity


def recordings(plan: Plan) -> tuple[Rule, ...]:
    """Make the shortest wait that is promised in each queue, in seconds."""
    return tuple(
        Recording(record="throughline:queue_target:seconds", expr=f"vector({target:.10g})", labels={"queue": queue})
        for queue, target in plan.queue_targets().items()
    )


def alerts(plan: Plan) -> tuple[Rule, ...]:
    """Make the alerts on waiting and on workers."""
    return (
        *(_no_worker(plan, queue) for queue in plan.queues),
        _too_old(plan),
        _backlog(plan),
        _saturated(plan),
        _leases(plan),
        _limit(plan),
    )


def _no_worker(plan: Plan, queue: str) -> Alert:
    among = f"(.+,)?{re.escape(queue)}(,.+)?".replace("\\", "\\\\")
    return Alert(
        name="ThroughlineNoWorker",
        expr=(
            f'max by (queue) (throughline_queue_depth{{state="due",queue="{queue}"}}) > 0\n'
            f'unless on () (sum(throughline_worker_slots{{state="total",queue=~"{among}"}}) > 0)'
        ),
        lasted=plan.scale.span("2m"),
        severity=Severity.PAGE,
        board=Board.QUEUES,
        shows="queue",
        summary="Nobody works on queue {{ $labels.queue }}",
        description="{{ $value }} runs are due there, and no worker that is scraped consumes that queue.",
        labels={"queue": queue},
    )


def _too_old(plan: Plan) -> Alert:
    return Alert(
        name="ThroughlineRunsWaitTooLong",
        expr=(
            'max by (queue) (throughline_queue_oldest_age_seconds{state="due"})\n'
            "> on (queue) throughline:queue_target:seconds"
        ),
        lasted=plan.scale.span("5m"),
        severity=Severity.PAGE,
        board=Board.QUEUES,
        shows="queue",
        summary="Runs of queue {{ $labels.queue }} wait longer than promised",
        description="The oldest due run of queue {{ $labels.queue }} has waited for {{ $value | humanizeDuration }}.",
    )


def _backlog(plan: Plan) -> Alert:
    window = plan.scale.span("15m")
    accepted, final = (f'max(delta(throughline_accounting_runs{{state="{state}"}}[{window}]))' for state in _SIDES)
    return Alert(
        name="ThroughlineBacklogGrows",
        expr=f"{accepted} > 1.1 * {final}\nand on () ({due()} > 100)",
        lasted=window,
        severity=Severity.TICKET,
        board=Board.QUEUES,
        summary="More runs come in than end",
        description="{{ $value | humanize }} runs came in within 15m, a tenth more than ended, and over 100 wait.",
    )


_SIDES = ("accepted", "final")


def _saturated(plan: Plan) -> Alert:
    window = plan.scale.span("5m")
    used, total = (
        f'sum by (queue) (avg_over_time(throughline_worker_slots{{state="{state}"}}[{window}]))'
        for state in ("used", "total")
    )
    return Alert(
        name="ThroughlineSlotsSaturated",
        expr=f"{used} / {total} > 0.95\nand on () ({due()} > 0)",
        lasted=plan.scale.span("15m"),
        severity=Severity.TICKET,
        board=Board.QUEUES,
        summary="The workers of {{ $labels.queue }} have no slot left",
        description="{{ $value | humanizePercentage }} of the slots of {{ $labels.queue }} are in use while runs wait.",
    )


def _leases(plan: Plan) -> Alert:
    """A dead child is counted by its successor, in whose metrics it is the first: they tell of it by having begun."""
    window = plan.scale.span("10m")
    ended, begun = "throughline_leases_expired_total", f"changes(process_start_time_seconds[{window}])"
    return Alert(
        name="ThroughlineLeaseStorm",
        expr=(
            f"sum(\n  ({begun} > increase({ended}[{window}]) and {ended} > 0)\n  or increase({ended}[{window}])\n) > 4"
        ),
        lasted="0s",
        severity=Severity.TICKET,
        board=Board.QUEUES,
        summary="Worker processes keep dying",
        description="{{ $value | humanize }} worker processes ended in 10m without giving their runs back.",
    )


def _limit(plan: Plan) -> Alert:
    admitted = grown("throughline_limit_admissions_total", plan.scale.span("1h"), by="limit")
    return Alert(
        name="ThroughlineLimitStuck",
        expr=f"max by (limit) (throughline_limit_waiting_runs) > 0\nunless on (limit) ({admitted} > 0)",
        lasted=plan.scale.span("15m"),
        severity=Severity.TICKET,
        board=Board.QUEUES,
        shows="limit",
        summary="Limit {{ $labels.limit }} lets nobody go",
        description="{{ $value }} due runs wait for limit {{ $labels.limit }}, which has let none go for 1h.",
    )
