"""Burn rates over several windows, and the alerts on them: fast where the budget of 30 days goes within hours."""

from dataclasses import dataclass
from typing import Final

from observability.alerts.plan import Objective, Plan
from observability.alerts.rule import Alert, Board, Recording, Rule, Severity

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
LEAST_BAD: Final = 10
"""Fewer bad events than this within the long window tell nothing about a share: no burn alert."""

_EVENTS: Final = "throughline_slo_events_total"
_BY: Final = "sum by (sli, pipeline)"
_WHAT: Final = "{{ $labels.sli }}{{ with $labels.pipeline }} of {{ . }}{{ end }}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """An alert on a burn rate above ``rate`` in two windows: the long one makes it sure, the short one ends it soon."""

    name: str
    long: str
    short: str
    rate: float
    lasted: str
    severity: Severity
    spent: str


BURNS: Final = (
    Burn(
        name="ThroughlineBudgetBurnsFast",
        long="1h",
        short="5m",
        rate=14.4,
        lasted="2m",
        severity=Severity.PAGE,
        spent="2 % of 30 days' budget in an hour",
    ),
    Burn(
        name="ThroughlineBudgetBurns",
        long="6h",
        short="30m",
        rate=6,
        lasted="15m",
        severity=Severity.PAGE,
        spent="5 % of 30 days' budget in six hours",
    ),
    Burn(
        name="ThroughlineBudgetBurnsSlowly",
        long="1d",
        short="2h",
        rate=3,
        lasted="1h",
        severity=Severity.TICKET,
        spent="10 % of 30 days' budget in a day",
    ),
    Burn(
        name="ThroughlineBudgetRunsOut",
        long="3d",
        short="6h",
        rate=1,
        lasted="3h",
        severity=Severity.TICKET,
        spent="all of the budget by the end of 30 days",
    ),
)


def recordings(plan: Plan) -> tuple[Rule, ...]:
    """Make the budgets, and for each window the share of bad events and how many times the budget's pace it is."""
    return (
        *(_budget(one) for one in plan.objectives),
        *(_errors(plan, window) for window in WINDOWS),
        *(_burn(window) for window in WINDOWS),
        *(_bad(plan, window) for window in dict.fromkeys(burn.long for burn in BURNS)),
    )


def alerts(plan: Plan) -> tuple[Rule, ...]:
    """Make the burn alerts, which go for every objective, and those for what isn't counted at all."""
    return (*(_alert(plan, burn) for burn in BURNS), *(_absent(plan, one) for one in plan.objectives))


def _budget(objective: Objective) -> Recording:
    return Recording(
        record="throughline:slo_budget:ratio",
        expr=f"vector({1 - objective.share:.10g})",
        labels=_labels(objective),
    )


def _errors(plan: Plan, window: str) -> Recording:
    span = plan.scale.span(window)
    return Recording(
        record=f"throughline:slo_errors:ratio_rate{window}",
        expr=f'{_BY} (rate({_EVENTS}{{good="false"}}[{span}]))\n/\n({_BY} (rate({_EVENTS}[{span}])) > 0)',
    )


def _burn(window: str) -> Recording:
    return Recording(
        record=f"throughline:slo_burn:ratio_rate{window}",
        expr=f"throughline:slo_errors:ratio_rate{window} / on (sli, pipeline) throughline:slo_budget:ratio",
    )


def _bad(plan: Plan, window: str) -> Recording:
    return Recording(
        record=f"throughline:slo_bad:increase{window}",
        expr=f'{_BY} (increase({_EVENTS}{{good="false"}}[{plan.scale.span(window)}]))',
    )


def _alert(plan: Plan, burn: Burn) -> Alert:
    return Alert(
        name=burn.name,
        expr=(
            f"throughline:slo_burn:ratio_rate{burn.long} > {burn.rate:g}\n"
            f"and throughline:slo_burn:ratio_rate{burn.short} > {burn.rate:g}\n"
            f"and throughline:slo_bad:increase{burn.long} >= {LEAST_BAD}"
        ),
        lasted=plan.scale.span(burn.lasted),
        severity=burn.severity,
        board=Board.SLO,
        shows="pipeline",
        summary=f"The error budget for {_WHAT} burns over {burn.rate:g} times too fast",
        description=(
            f"Over {burn.long} it burns {{{{ $value | humanize }}}} times as fast as it may, and over {burn.short} "
            f"still over {burn.rate:g} times. This pace costs {burn.spent}."
        ),
    )


def _absent(plan: Plan, objective: Objective) -> Alert:
    matchers = ",".join(f'{name}="{value}"' for name, value in _labels(objective).items())
    return Alert(
        name="ThroughlineSloNotMeasured",
        expr=f"absent({_EVENTS}{{{matchers}}})",
        lasted=plan.scale.span("15m"),
        severity=Severity.TICKET,
        board=Board.SLO,
        shows="pipeline" if objective.pipeline else None,
        summary=f"Nothing counts {_WHAT}",
        description=f"No process that is scraped has {_EVENTS} for {_WHAT}, so that its burn alerts can't fire.",
        labels=_labels(objective),
    )


def _labels(objective: Objective) -> dict[str, str]:
    pipeline = {"pipeline": objective.pipeline} if objective.pipeline else {}
    return {"sli": objective.sli.value, **pipeline}
