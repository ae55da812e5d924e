from collections.abc import Mapping, Sequence

from observability.alerts import Severity
from tests.support.promtool import Case, Kind

PAGE, TICKET = Severity.PAGE, Severity.TICKET


def case(
    alert: str,
    kind: Kind,
    series: Mapping[str, str],
    expect: Mapping[str, Sequence[Mapping[str, str]]],
    *,
    severity: Severity = TICKET,
) -> Case:
    return Case(alert=alert, kind=kind, severity=severity, series=series, expect=expect)


def down(alert: str, series: str) -> tuple[Case, ...]:
    """One store away for one relay alone is the relay's trouble; away for all is the store's."""
    first, second = f'{series}{{instance="a"}}', f'{series}{{instance="b"}}'
    return (
        case(alert, Kind.FIRES, {first: "0x20", second: "0x20"}, {"5m": [{}]}, severity=PAGE),
        case(alert, Kind.QUIET, {first: "0x20", second: "1x20"}, {"5m": [], "20m": []}, severity=PAGE),
        case(alert, Kind.BOUNDARY, {first: "1x5 0x20"}, {"6m": [], "7m": [{}]}, severity=PAGE),
    )


def full(alert: str, used: str, most: str) -> tuple[Case, ...]:
    """A share of what there is; a limit of 0 is none."""
    return (
        case(alert, Kind.FIRES, {used: "90x30", most: "100x30"}, {"15m": [{}]}),
        case(alert, Kind.QUIET, {used: "90x30", most: "0x30"}, {"15m": []}),
        case(alert, Kind.BOUNDARY, {used: "85x30", most: "100x30"}, {"30m": []}),
        case(alert, Kind.BOUNDARY, {used: "86x30", most: "100x30"}, {"9m": [], "10m": [{}]}),
    )


EVICTS, EVICTED = "ThroughlineRedisEvicts", "throughline_redis_evicted_keys_total"
DEADLOCKS, LOCKED = "ThroughlinePostgresDeadlocks", "throughline_postgres_deadlocks_total"
LONG, OLDEST = "ThroughlinePostgresLongTransaction", "throughline_postgres_oldest_transaction_seconds"

CASES = (
    *down("ThroughlineRedisDown", "throughline_redis_up"),
    *down("ThroughlinePostgresDown", "throughline_postgres_up"),
    *full("ThroughlineRedisMemoryFull", "throughline_redis_memory_used_bytes", "throughline_redis_memory_max_bytes"),
    *full(
        "ThroughlinePostgresConnectionsFull", "throughline_postgres_connections", "throughline_postgres_connections_max"
    ),
    case(EVICTS, Kind.FIRES, {EVICTED: "0+10x30"}, {"5m": [{}]}),
    case(EVICTS, Kind.QUIET, {EVICTED: "77x30"}, {"5m": [], "30m": []}),
    case(EVICTS, Kind.BOUNDARY, {EVICTED: "0x9 1x40"}, {"9m": [], "10m": [{}], "24m": [{}], "25m": []}),
    case(DEADLOCKS, Kind.FIRES, {LOCKED: "0+1x30"}, {"10m": [{}]}),
    case(DEADLOCKS, Kind.QUIET, {LOCKED: "9x30"}, {"10m": []}),
    case(DEADLOCKS, Kind.BOUNDARY, {LOCKED: "0x15 1 2 2x20 3x20"}, {"20m": [], "30m": []}),
    case(DEADLOCKS, Kind.BOUNDARY, {LOCKED: "0x15 1 2 3 3x20"}, {"17m": [], "18m": [{}]}),
    case(LONG, Kind.FIRES, {OLDEST: "0+60x60"}, {"30m": [{}]}),
    case(LONG, Kind.QUIET, {OLDEST: "0+60x9 0+60x9 0+60x9"}, {"20m": [], "29m": []}),
    case(LONG, Kind.BOUNDARY, {OLDEST: "600x30"}, {"30m": []}),
    case(LONG, Kind.BOUNDARY, {OLDEST: "601x30"}, {"4m": [], "5m": [{}]}),
)
