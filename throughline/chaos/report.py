from collections import Counter, defaultdict
from collections.abc import Sequence

from rich.table import Table

from throughline.chaos.audit import Finding, Verdict
from throughline.chaos.ledger import NORMAL, Ledger, quantile
from throughline.chaos.promises import MOST_RATIO, latency_ratio
from throughline.chaos.recovery import Injection
from throughline.cli.output import console

_SHOWN = 10


def show_table(injections: Sequence[Injection], ledger: Ledger, verdict: Verdict) -> None:
    """Print one row a fault: how often, how long recovery took, what was lost and doubled in its phase, the answers.

    A finding is of the phase in which its event was sent, or in which its extra call was made.
    """
    titles = ("fault", "count", "recovery p50", "max", "limit", "lost", "doubled", "answers")
    table = Table(*titles, box=None, pad_edge=False)
    lost, doubled = _by_phase(verdict.lost), _by_phase(verdict.doubled)
    groups: dict[str, list[Injection]] = defaultdict(list)
    for injection in injections:
        groups[injection.fault.name].append(injection)
    for name, group in sorted(groups.items()):
        answers = ", ".join(f"{said} {count}" for said, count in sorted(ledger.said(name).items()))
        table.add_row(name, *_recovery(group), _count(lost[name]), _count(doubled[name]), answers)
    answers = ", ".join(f"{said} {count}" for said, count in sorted(ledger.said(NORMAL).items()))
    table.add_row("in between", "", "", "", "", _count(lost[NORMAL]), _count(doubled[NORMAL]), answers)
    total = str(len(injections))
    table.add_row("all", total, "", "", "", _count(len(verdict.lost)), _count(len(verdict.doubled)), "")
    console.print(table)
    console.print(
        "  All the time: the collector refused, but for the fault that silences it; no Flower, no Prometheus.",
        style="dim",
    )


def _recovery(group: list[Injection]) -> tuple[str, str, str, str]:
    times = sorted(injection.recovery for injection in group if injection.recovery is not None)
    slowest = _seconds(times[-1]) if len(times) == len(group) else "never"
    late = "red" if any(injection.late or injection.idle for injection in group) else "green"
    limit = _seconds(group[0].fault.limit)
    return str(len(group)), _seconds(quantile(times, 0.5)), f"[{late}]{slowest}[/{late}]", limit


def _by_phase(findings: Sequence[Finding]) -> Counter[str]:
    return Counter(finding.phase for finding in findings)


def _count(number: int) -> str:
    return f"[red]{number}[/red]" if number else "0"


def show_pressure(share: float | None) -> None:
    """Print how busy the machine was: the limits are for one that has nothing else to do."""
    if share is not None:
        console.print(f"  In {share:.0%} of the time something here waited for a CPU.", style="dim")


def show_latencies(ledger: Ledger) -> None:
    """Print how long a 202 of the even stream took in peace and while Redis was away, and the slowest 503."""
    for title, times in (("in peace", ledger.latencies(away=False)), ("Redis away", ledger.latencies(away=True))):
        if times:
            p50, p99 = quantile(times, 0.5) or 0.0, quantile(times, 0.99) or 0.0
            console.print(f"  POST, {title}: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms ({len(times)} of them)")
    ratio = latency_ratio(ledger)
    if ratio is not None:
        console.print(f"  POST, Redis away: {ratio:.2f} times the p50 in peace ({MOST_RATIO:g} are allowed)")
    console.print(f"  POST, slowest 503: {ledger.slowest_refusal():.1f} s")


def show_verdict(verdict: Verdict, ledger: Ledger, *, broken: Sequence[str]) -> None:
    """Print what the audit found, the first lines of each kind, and every other promise that was broken."""
    for title, findings in (
        ("lost", verdict.lost),
        ("doubled", verdict.doubled),
        ("stuck", verdict.stuck),
        ("ended otherwise than sent for", verdict.astray),
    ):
        for finding in findings[:_SHOWN]:
            console.print(f"  {title}: {finding.text}", style="red", markup=False, soft_wrap=True)
    for line in broken:
        console.print(f"  {line}", style="red", markup=False, soft_wrap=True)
    console.print(
        f"\n{len(ledger.sent)} events sent, {ledger.accepted} promised, {verdict.stored_unpromised} stored though the "
        f"client doesn't know; {verdict.repeated_calls} calls repeated after a fault"
    )
    style = "bold green" if verdict.clean and not broken else "bold red"
    counts = f"{len(verdict.lost)} lost, {len(verdict.doubled)} doubled, {len(verdict.stuck)} stuck"
    counts += f", {len(verdict.astray)} astray" if verdict.astray else ""
    console.print(counts + (f", {len(broken)} other promises broken" if broken else ""), style=style)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
