from observability.alerts import Severity
from tests.support.promtool import Case, Kind

DEFAULT = {"queue": "default"}


def due(values: str, *, queue: str = "default", instance: str = "a") -> dict[str, str]:
    return {f'throughline_queue_depth{{queue="{queue}",state="due",instance="{instance}"}}': values}


def slots(values: str, *, queue: str = "default", state: str = "total", instance: str = "w") -> dict[str, str]:
    return {f'throughline_worker_slots{{queue="{queue}",state="{state}",instance="{instance}"}}': values}


def age(values: str, *, queue: str = "default", instance: str = "a") -> dict[str, str]:
    return {f'throughline_queue_oldest_age_seconds{{queue="{queue}",state="due",instance="{instance}"}}': values}


def account(*, accepted: str, final: str) -> dict[str, str]:
    return {
        'throughline_accounting_runs{state="accepted",instance="a"}': accepted,
        'throughline_accounting_runs{state="final",instance="a"}': final,
    }


def leases(values: str, *, instance: str = "a") -> dict[str, str]:
    return {f'throughline_leases_expired_total{{instance="{instance}"}}': values}


def begun(values: str, *, instance: str = "a") -> dict[str, str]:
    return {f'process_start_time_seconds{{instance="{instance}"}}': values}


def limit(*, waiting: str, admitted: str, name: str = "vendor") -> dict[str, str]:
    return {
        f'throughline_limit_waiting_runs{{limit="{name}",instance="a"}}': waiting,
        f'throughline_limit_admissions_total{{limit="{name}",instance="a"}}': admitted,
    }


NO_WORKER, TOO_OLD, BACKLOG, SATURATED, LEASES, LIMIT = (
    "ThroughlineNoWorker",
    "ThroughlineRunsWaitTooLong",
    "ThroughlineBacklogGrows",
    "ThroughlineSlotsSaturated",
    "ThroughlineLeaseStorm",
    "ThroughlineLimitStuck",
)
PAGE, TICKET = Severity.PAGE, Severity.TICKET

CASES = (
    Case(
        alert=NO_WORKER,
        kind=Kind.FIRES,
        severity=PAGE,
        series=due("5x20") | due("5x20", instance="b") | due("1x20", queue="cell") | slots("4x20", queue="slow.one"),
        expect={"5m": [DEFAULT, {"queue": "cell"}]},
    ),
    Case(
        alert=NO_WORKER,
        kind=Kind.FIRES,
        severity=PAGE,
        series=due("5x20", queue="slow.one") | slots("4x20", queue="slow-one") | slots("4x20", queue="slow.one.more"),
        expect={"5m": [{"queue": "slow.one"}]},
    ),
    Case(
        alert=NO_WORKER,
        kind=Kind.QUIET,
        severity=PAGE,
        series=due("5x20")
        | due("5x20", queue="slow.one")
        | due("0x20", queue="cell")
        | slots("4x20", queue="slow.one,default"),
        expect={"5m": [], "15m": []},
    ),
    Case(
        alert=NO_WORKER,
        kind=Kind.BOUNDARY,
        severity=PAGE,
        series=due("1x20") | slots("4x3 stale"),
        expect={"5m": [], "6m": [DEFAULT]},
    ),
    Case(alert=TOO_OLD, kind=Kind.FIRES, severity=PAGE, series=age("0+60x30"), expect={"15m": [DEFAULT]}),
    Case(
        alert=TOO_OLD,
        kind=Kind.QUIET,
        severity=PAGE,
        series=age("29x30") | age("900x30", queue="cell"),
        expect={"10m": [], "30m": []},
    ),
    Case(alert=TOO_OLD, kind=Kind.BOUNDARY, severity=PAGE, series=age("30x30"), expect={"20m": []}),
    Case(
        alert=TOO_OLD,
        kind=Kind.BOUNDARY,
        severity=PAGE,
        series=age("31x5 0x9") | age("31x5 0x9", instance="b"),
        expect={"4m": [], "5m": [DEFAULT], "6m": []},
    ),
    Case(
        alert=BACKLOG,
        kind=Kind.FIRES,
        severity=TICKET,
        series=account(accepted="0+100x60", final="0+80x60") | due("0+20x60"),
        expect={"30m": [{}], "60m": [{}]},
    ),
    Case(
        alert=BACKLOG,
        kind=Kind.QUIET,
        severity=TICKET,
        series=account(accepted="0+100x60", final="0+95x60") | due("0+5x60"),
        expect={"30m": [], "60m": []},
    ),
    Case(
        alert=BACKLOG,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=account(accepted="0+100x60", final="0+80x60") | due("100x60"),
        expect={"60m": []},
    ),
    Case(
        alert=BACKLOG,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=account(accepted="0+100x60", final="0+80x60") | due("0+20x60"),
        expect={"20m": [], "21m": [{}]},
    ),
    Case(
        alert=SATURATED,
        kind=Kind.FIRES,
        severity=TICKET,
        series=slots("256x60") | slots("256x60", state="used") | due("9x60"),
        expect={"20m": [DEFAULT]},
    ),
    Case(
        alert=SATURATED,
        kind=Kind.QUIET,
        severity=TICKET,
        series=slots("256x60") | slots("256x60", state="used") | due("0x60"),
        expect={"20m": []},
    ),
    Case(
        alert=SATURATED,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=slots("100x60") | slots("95x60", state="used") | due("9x60"),
        expect={"30m": []},
    ),
    Case(
        alert=SATURATED,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=slots("100x60") | slots("96x60", state="used") | due("9x60"),
        expect={"14m": [], "15m": [DEFAULT]},
    ),
    Case(
        alert=LEASES,
        kind=Kind.FIRES,
        severity=TICKET,
        series=leases("0x5 0+1x30") | leases("0x5 0+1x30", instance="b"),
        expect={"10m": [{}]},
    ),
    # The children of one seat: each counts the one before it.
    Case(
        alert=LEASES,
        kind=Kind.FIRES,
        severity=TICKET,
        series=leases("0x5 1x30") | begun("1x5 2 3 4 5 6x30"),
        expect={"9m": [], "10m": [{}], "15m": [{}], "16m": []},
    ),
    Case(alert=LEASES, kind=Kind.QUIET, severity=TICKET, series=leases("0x5 2x30"), expect={"10m": [], "30m": []}),
    # Processes that are started anew in order.
    Case(
        alert=LEASES,
        kind=Kind.QUIET,
        severity=TICKET,
        series=leases("0x30") | begun("1x5 2 3 4 5 6x30") | leases("2x30", instance="b") | begun("7x30", instance="b"),
        expect={"10m": [], "12m": []},
    ),
    Case(
        alert=LEASES,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=leases("0x5 1 2 3 4 4x10 9x30"),
        expect={"11m": [], "20m": [], "21m": [{}], "30m": [{}], "31m": []},
    ),
    Case(
        alert=LIMIT,
        kind=Kind.FIRES,
        severity=TICKET,
        series=limit(waiting="5x120", admitted="10x120") | limit(waiting="5x120", admitted="0+1x120", name="other"),
        expect={"100m": [{"limit": "vendor"}]},
    ),
    Case(
        alert=LIMIT,
        kind=Kind.QUIET,
        severity=TICKET,
        series=limit(waiting="0x120", admitted="10x120") | limit(waiting="5x120", admitted="0+1x120", name="other"),
        expect={"100m": []},
    ),
    Case(
        alert=LIMIT,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=limit(waiting="5x200", admitted="0x30 1x170"),
        expect={"90m": [], "120m": [{"limit": "vendor"}]},
    ),
)
