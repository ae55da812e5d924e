from collections.abc import Mapping, Sequence

from observability.alerts import Severity
from tests.support.promtool import Case, Kind

FAST, SIX_HOURS, DAY, TREND, ABSENT = (
    "ThroughlineBudgetBurnsFast",
    "ThroughlineBudgetBurns",
    "ThroughlineBudgetBurnsSlowly",
    "ThroughlineBudgetRunsOut",
    "ThroughlineSloNotMeasured",
)
EXECUTION = {"sli": "execution", "pipeline": "shop"}
QUEUEING = {"sli": "queueing", "pipeline": "shop"}
INGEST = {"sli": "ingest"}


def slo(labels: Mapping[str, str], *, good: str, bad: str) -> dict[str, str]:
    shown = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return {
        f'throughline_slo_events_total{{{shown},good="true",job="throughline-worker",instance="a"}}': good,
        f'throughline_slo_events_total{{{shown},good="false",job="throughline-worker",instance="a"}}': bad,
    }


def burn(
    alert: str,
    kind: Kind,
    series: Mapping[str, str],
    expect: Mapping[str, Sequence[Mapping[str, str]]],
    *,
    interval: str = "1m",
) -> Case:
    severity = Severity.PAGE if alert in {FAST, SIX_HOURS} else Severity.TICKET
    return Case(alert=alert, kind=kind, severity=severity, series=series, expect=expect, interval=interval)


CASES = (
    burn(
        FAST,
        Kind.FIRES,
        slo(EXECUTION, good="0+80x200", bad="0+20x200") | slo(QUEUEING, good="0+100x200", bad="0x200"),
        {"10m": [EXECUTION], "2h": [EXECUTION]},
    ),
    burn(FAST, Kind.FIRES, slo(INGEST, good="0+98x60", bad="0+2x60"), {"30m": [INGEST]}),
    burn(
        FAST,
        Kind.QUIET,
        slo(EXECUTION, good="0+90x60", bad="0+10x60") | slo(QUEUEING, good="0+90x60", bad="0+10x60"),
        {"10m": [], "60m": []},
    ),
    burn(FAST, Kind.QUIET, slo(EXECUTION, good="0x90", bad="0x90"), {"60m": []}),
    # The short window ends it within minutes, though the long one remembers.
    burn(FAST, Kind.QUIET, slo(EXECUTION, good="0+80x200", bad="0+20x60 1200x100"), {"60m": [EXECUTION], "67m": []}),
    # It lasts for 2m from the first rate on, which takes two samples.
    burn(FAST, Kind.BOUNDARY, slo(EXECUTION, good="0+80x9", bad="0+20x9"), {"2m": [], "3m": [EXECUTION]}),
    # 14.4 times a budget of 1 %.
    burn(FAST, Kind.BOUNDARY, slo(EXECUTION, good="0+857x60", bad="0+143x60"), {"60m": []}),
    burn(FAST, Kind.BOUNDARY, slo(EXECUTION, good="0+855x60", bad="0+145x60"), {"60m": [EXECUTION]}),
    # Nine bad ones tell nothing about a share, ten do.
    burn(FAST, Kind.BOUNDARY, slo(EXECUTION, good="0x60", bad="0+1x9 9x50"), {"9m": [], "12m": []}),
    burn(FAST, Kind.BOUNDARY, slo(EXECUTION, good="0x60", bad="0+1x30"), {"11m": [], "12m": [EXECUTION]}),
    burn(SIX_HOURS, Kind.FIRES, slo(QUEUEING, good="0+90x200", bad="0+10x200"), {"40m": [QUEUEING], "3h": [QUEUEING]}),
    burn(SIX_HOURS, Kind.QUIET, slo(QUEUEING, good="0+95x400", bad="0+5x400"), {"6h": []}),
    burn(
        SIX_HOURS, Kind.QUIET, slo(QUEUEING, good="0+80x400", bad="0+20x90 1800x300"), {"90m": [QUEUEING], "125m": []}
    ),
    burn(SIX_HOURS, Kind.BOUNDARY, slo(QUEUEING, good="0+90x30", bad="0+10x30"), {"15m": [], "16m": [QUEUEING]}),
    burn(SIX_HOURS, Kind.BOUNDARY, slo(QUEUEING, good="0+941x60", bad="0+59x60"), {"60m": []}),
    burn(SIX_HOURS, Kind.BOUNDARY, slo(QUEUEING, good="0+939x60", bad="0+61x60"), {"60m": [QUEUEING]}),
    burn(DAY, Kind.FIRES, slo(EXECUTION, good="0+96x300", bad="0+4x300"), {"5h": [EXECUTION]}, interval="5m"),
    burn(DAY, Kind.QUIET, slo(EXECUTION, good="0+98x300", bad="0+2x300"), {"5h": [], "24h": []}, interval="5m"),
    burn(DAY, Kind.BOUNDARY, slo(EXECUTION, good="0+971x60", bad="0+29x60"), {"5h": []}, interval="5m"),
    burn(
        DAY,
        Kind.BOUNDARY,
        slo(EXECUTION, good="0+969x60", bad="0+31x60"),
        {"60m": [], "65m": [EXECUTION]},
        interval="5m",
    ),
    burn(TREND, Kind.FIRES, slo(EXECUTION, good="0+98x1200", bad="0+2x1200"), {"80h": [EXECUTION]}, interval="5m"),
    burn(TREND, Kind.QUIET, slo(EXECUTION, good="0+995x1200", bad="0+5x1200"), {"80h": []}, interval="5m"),
    burn(TREND, Kind.BOUNDARY, slo(EXECUTION, good="0+991x90", bad="0+9x90"), {"7h": []}, interval="5m"),
    burn(
        TREND,
        Kind.BOUNDARY,
        slo(EXECUTION, good="0+989x90", bad="0+11x90"),
        {"180m": [], "185m": [EXECUTION]},
        interval="5m",
    ),
    burn(
        ABSENT,
        Kind.FIRES,
        slo(INGEST, good="0x60", bad="0x60")
        | slo(QUEUEING, good="0x60", bad="0x60")
        | slo({"sli": "queueing", "pipeline": "stock"}, good="0x60", bad="0x60"),
        {"30m": [EXECUTION]},
    ),
    burn(
        ABSENT,
        Kind.QUIET,
        slo(INGEST, good="0x60", bad="0x60")
        | slo(QUEUEING, good="0x60", bad="0x60")
        | slo({"sli": "queueing", "pipeline": "stock"}, good="0x60", bad="0x60")
        | slo(EXECUTION, good="0x60", bad="0x60"),
        {"30m": []},
    ),
    burn(
        ABSENT,
        Kind.BOUNDARY,
        {},
        {"14m": [], "15m": [INGEST, QUEUEING, {"sli": "queueing", "pipeline": "stock"}, EXECUTION]},
    ),
)
