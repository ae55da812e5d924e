from observability.alerts import Severity
from tests.support.promtool import Case, Kind

ACCOUNTING, DEAD, UNROUTED, RETRIES, STALE, BLOCKED = (
    "ThroughlineAccountingOff",
    "ThroughlineDeadRunsGrow",
    "ThroughlineUnroutedEventsGrow",
    "ThroughlineRetryStorm",
    "ThroughlineStaleWrites",
    "ThroughlineLoopBlocked",
)
PAGE, TICKET = Severity.PAGE, Severity.TICKET
SHOP = {"pipeline": "shop"}
NODE = {"pipeline": "shop", "node": "count"}
UP = 'up{job="throughline-worker",instance="a"}'
LOOP = 'throughline_loop_blocked_total{pipeline="shop",node="count",job="throughline-worker",instance="a"}'


def difference(values: str) -> dict[str, str]:
    return {'throughline_accounting_runs{state="difference",instance="a"}': values}


def tries(**values: str) -> dict[str, str]:
    return {f'throughline_runs_total{{pipeline="shop",outcome="{outcome}"}}': told for outcome, told in values.items()}


def growing(alert: str, series: str) -> tuple[Case, ...]:
    """Both gauges of what waits for somebody."""
    first, second = f'{series}{{instance="a"}}', f'{series}{{instance="b"}}'
    return (
        Case(
            alert=alert,
            kind=Kind.FIRES,
            severity=TICKET,
            series={first: "3x40 4x60", second: "3x40 4x60"},
            expect={"50m": [{}], "70m": [{}]},
        ),
        # A relay that was started anew says 0 until it has counted, and a replay lets the number sink.
        Case(
            alert=alert,
            kind=Kind.QUIET,
            severity=TICKET,
            series={first: "3x40 _x3 0 3x20 1x60"},
            expect={"45m": [], "50m": [], "74m": [], "80m": []},
        ),
        Case(
            alert=alert,
            kind=Kind.BOUNDARY,
            severity=TICKET,
            series={first: "3x40 4x60"},
            expect={"45m": [], "46m": [{}], "70m": [{}], "71m": []},
        ),
    )


CASES = (
    *growing(DEAD, "throughline_dead_runs"),
    *growing(UNROUTED, "throughline_unrouted_events"),
    Case(alert=ACCOUNTING, kind=Kind.FIRES, severity=PAGE, series=difference("2x20"), expect={"10m": [{}]}),
    Case(alert=ACCOUNTING, kind=Kind.QUIET, severity=PAGE, series=difference("0x20"), expect={"10m": []}),
    Case(
        alert=ACCOUNTING,
        kind=Kind.BOUNDARY,
        severity=PAGE,
        series=difference("0x5 -1x20"),
        expect={"10m": [], "11m": [{}]},
    ),
    Case(
        alert=RETRIES,
        kind=Kind.FIRES,
        severity=TICKET,
        series=tries(retried="0+60x60", succeeded="0+20x60", failed="0+20x60"),
        expect={"20m": [SHOP]},
    ),
    Case(
        alert=RETRIES,
        kind=Kind.QUIET,
        severity=TICKET,
        series=tries(retried="0+1x60", succeeded="0x60"),
        expect={"20m": [], "60m": []},
    ),
    Case(
        alert=RETRIES,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=tries(retried="0+60x60", succeeded="0+60x60"),
        expect={"20m": []},
    ),
    Case(
        alert=RETRIES,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=tries(retried="0+6x60", succeeded="0+4x60"),
        expect={"8m": [], "9m": [SHOP]},
    ),
    Case(
        alert=STALE,
        kind=Kind.FIRES,
        severity=TICKET,
        series={'throughline_stale_writes_total{instance="a"}': "0+4x30"},
        expect={"10m": [{}]},
    ),
    Case(
        alert=STALE,
        kind=Kind.QUIET,
        severity=TICKET,
        series={'throughline_stale_writes_total{instance="a"}': "0x5 3x30"},
        expect={"10m": [], "30m": []},
    ),
    Case(
        alert=STALE,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series={'throughline_stale_writes_total{instance="a"}': "0x5 0+1x20"},
        expect={"16m": [], "17m": [{}]},
    ),
    Case(
        alert=BLOCKED,
        kind=Kind.FIRES,
        severity=TICKET,
        series={UP: "1x60", LOOP: "_x20 1x40"},
        expect={"20m": [NODE], "30m": [NODE]},
    ),
    # Prometheus has just been started, and sees what was counted weeks ago.
    Case(
        alert=BLOCKED,
        kind=Kind.QUIET,
        severity=TICKET,
        series={UP: "1x60", LOOP: "7x60"},
        expect={"0m": [], "5m": [], "20m": []},
    ),
    Case(
        alert=BLOCKED,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series={UP: "1x60", LOOP: "_x20 1x40"},
        expect={"19m": [], "20m": [NODE], "34m": [NODE], "35m": []},
    ),
)
