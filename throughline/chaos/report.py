from collections import defaultdict
from collections.abc import Sequence

from rich.table import Table

from throughline.chaos.audit import Verdict
from throughline.chaos.ledger import Ledger, quantile
from throughline.chaos.load import NORMAL
from throughline.chaos.recovery import Injection
from throughline.cli.output import console

_SHOWN = 10


def show_table(injections: Sequence[Injection], ledger: Ledger) -> None:
    """Print one row a fault: how often, the recovery's median and maximum, and what clients were answered."""
    table = Table("fault", "count", "recovery p50", "max", "limit", "answers", box=None, pad_edge=False)
    groups: dict[str, list[Injection]] = defaultdict(list)
    for injection in injections:
        groups[injection.fault.name].append(injection)
    for name, group in sorted(groups.items()):
        times = sorted(injection.recovery for injection in group if injection.recovery is not None)
        slowest = _seconds(times[-1]) if len(times) == len(group) else "never"
        late = "red" if any(injection.late for injection in group) else "green"
        answers = ", ".join(f"{said} {count}" for said, count in sorted(ledger.said(name).items()))
        limit = _seconds(group[0].fault.limit)
        table.add_row(
            name, str(len(group)), _seconds(quantile(times, 0.5)), f"[{late}]{slowest}[/{late}]", limit, answers
        )
    console.print(table)


def show_latencies(injections: Sequence[Injection], ledger: Ledger) -> None:
    """Print how long a 202 took in peace and while Redis was away, and the slowest 503."""
    away = frozenset(injection.fault.name for injection in injections if injection.fault.redis_away)
    for title, phases in (("in peace", frozenset({NORMAL})), ("Redis away", away)):
        times = ledger.latencies(phases)
        if times:
            p50, p99 = quantile(times, 0.5) or 0.0, quantile(times, 0.99) or 0.0
            console.print(f"  POST, {title}: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms ({len(times)} of them)")
    console.print(f"  POST, slowest 503: {ledger.slowest_refusal():.1f} s")


def show_verdict(verdict: Verdict, ledger: Ledger, *, unexpected: Sequence[str]) -> None:
    """Print what the audit found, the first lines of each kind."""
    for title, lines in (
        ("lost", verdict.lost),
        ("doubled", verdict.doubled),
        ("stuck", verdict.stuck),
        ("ended otherwise than sent for", verdict.astray),
    ):
        for line in lines[:_SHOWN]:
            console.print(f"  {title}: {line}", style="red", markup=False, soft_wrap=True)
    for line in unexpected:
        console.print(f"  ended unasked, started again: {line}", style="yellow", markup=False, soft_wrap=True)
    console.print(
        f"\n{len(ledger.sent)} events sent, {ledger.accepted} promised, {verdict.stored_unpromised} stored though the "
        f"client doesn't know; {verdict.repeated_calls} calls repeated after a fault"
    )
    style = "bold green" if verdict.clean else "bold red"
    counts = f"{len(verdict.lost)} lost, {len(verdict.doubled)} doubled, {len(verdict.stuck)} stuck"
    console.print(counts + (f", {len(verdict.astray)} astray" if verdict.astray else ""), style=style)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
