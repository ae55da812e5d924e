from observability.alerts import Severity
from tests.support.promtool import Case, Kind

STALLED, REFUSED, ERRORS, TURNED_AWAY, DOWN, DROPPED = (
    "ThroughlineRelayStalled",
    "ThroughlinePublishErrors",
    "ThroughlineApiErrors",
    "ThroughlineApiTurnsEventsAway",
    "ThroughlineTargetDown",
    "ThroughlineSpansDropped",
)
PAGE, TICKET = Severity.PAGE, Severity.TICKET
QUEUE = {"queue": "default"}
LOST = {"job": "throughline-api", "reason": "queue_full"}
API = {"job": "throughline-api", "instance": "a"}
UP = 'up{job="throughline-api",instance="a"}'
SPANS = 'throughline_spans_dropped_total{reason="queue_full",job="throughline-api",instance="a"}'
UNSENT = 'throughline_publish_errors_total{queue="default",job="throughline-api",instance="a"}'


def passed(values: str, *, instance: str = "a") -> dict[str, str]:
    return {f'throughline_relay_last_pass_timestamp_seconds{{instance="{instance}"}}': values}


def answers(*, route: str = "/events", method: str = "POST", **statuses: str) -> dict[str, str]:
    return {
        f'http_server_request_duration_seconds_count{{http_request_method="{method}",http_route="{route}",'
        f'http_response_status_code="{status.removeprefix("s")}"}}': values
        for status, values in statuses.items()
    }


CASES = (
    Case(alert=STALLED, kind=Kind.FIRES, severity=PAGE, series={}, expect={"5m": [{}]}),
    Case(
        alert=STALLED,
        kind=Kind.FIRES,
        severity=PAGE,
        series=passed("0x20") | passed("0+60x5 300x15", instance="b"),
        expect={"5m": [], "10m": [{}]},
    ),
    Case(
        alert=STALLED,
        kind=Kind.QUIET,
        severity=PAGE,
        series=passed("0x30") | passed("0+60x30", instance="b"),
        expect={"10m": [], "30m": []},
    ),
    Case(
        alert=STALLED,
        kind=Kind.BOUNDARY,
        severity=PAGE,
        series=passed("0+60x10 600x20"),
        expect={"13m": [], "14m": [{}]},
    ),
    Case(
        alert=REFUSED,
        kind=Kind.FIRES,
        severity=TICKET,
        series={UP: "1x40", UNSENT: "4x20 6x20"},
        expect={"21m": [QUEUE], "25m": [QUEUE]},
    ),
    Case(
        alert=REFUSED,
        kind=Kind.QUIET,
        severity=TICKET,
        series={UP: "1x40", UNSENT: "4x40"},
        expect={"0m": [], "20m": []},
    ),
    Case(
        alert=REFUSED,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series={UP: "1x40", UNSENT: "_x15 1x25"},
        expect={"14m": [], "15m": [QUEUE], "24m": [QUEUE], "25m": []},
    ),
    Case(
        alert=ERRORS,
        kind=Kind.FIRES,
        severity=TICKET,
        series=answers(s202="0+90x30", s500="0+10x30"),
        expect={"15m": [{}]},
    ),
    Case(
        alert=ERRORS,
        kind=Kind.QUIET,
        severity=TICKET,
        series=answers(s202="0+50x30", s503="0+50x30", s422="0+50x30"),
        expect={"15m": []},
    ),
    Case(
        alert=ERRORS,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=answers(s202="0+981x30", s500="0+19x30"),
        expect={"15m": []},
    ),
    Case(
        alert=ERRORS,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=answers(s202="0+97x30", s500="0+3x30"),
        expect={"6m": [], "7m": [{}]},
    ),
    Case(
        alert=TURNED_AWAY,
        kind=Kind.FIRES,
        severity=TICKET,
        series=answers(s202="0+90x30", s503="0+10x30"),
        expect={"15m": [{}]},
    ),
    Case(
        alert=TURNED_AWAY,
        kind=Kind.QUIET,
        severity=TICKET,
        series=answers(s202="0+90x30", s422="0+10x30") | answers(route="/health/ready", method="GET", s503="0+10x30"),
        expect={"15m": []},
    ),
    Case(
        alert=TURNED_AWAY,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=answers(s202="0+991x30", s503="0+9x30"),
        expect={"15m": []},
    ),
    Case(
        alert=TURNED_AWAY,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series=answers(s202="0+98x30", s503="0+2x30"),
        expect={"7m": [], "8m": [{}]},
    ),
    Case(alert=DOWN, kind=Kind.FIRES, severity=TICKET, series={UP: "0x30"}, expect={"10m": [API]}),
    Case(
        alert=DOWN,
        kind=Kind.QUIET,
        severity=TICKET,
        series={UP: "1x30", 'up{job="node",instance="a"}': "0x30"},
        expect={"10m": []},
    ),
    Case(alert=DOWN, kind=Kind.BOUNDARY, severity=TICKET, series={UP: "1x5 0x20"}, expect={"10m": [], "11m": [API]}),
    Case(
        alert=DROPPED,
        kind=Kind.FIRES,
        severity=TICKET,
        series={UP: "1x60", SPANS: "0+5x60"},
        expect={"10m": [LOST]},
    ),
    Case(alert=DROPPED, kind=Kind.QUIET, severity=TICKET, series={UP: "1x60", SPANS: "90x60"}, expect={"10m": []}),
    Case(
        alert=DROPPED,
        kind=Kind.BOUNDARY,
        severity=TICKET,
        series={UP: "1x60", SPANS: "_x20 3x40"},
        expect={"24m": [], "25m": [LOST], "34m": [LOST], "35m": []},
    ),
)
