import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measured import FILE, Costs, load
from benchmarks.simulation.run import Report, simulate
from benchmarks.simulation.scenario import Scenario

_TABLE: Final = (
    Scenario(rate=1_000, api=1, workers=2, relays=1, postgres_cores=2),
    Scenario(rate=5_000, api=2, workers=4, relays=1, postgres_cores=4),
    Scenario(rate=10_000, api=4, workers=8, relays=2, postgres_cores=6),
    Scenario(rate=20_000, api=8, workers=16, relays=4, queues=4, postgres_cores=12),
)
_ONE_MACHINE: Final = Scenario(api=1, workers=2, relays=1, shared_cores=2)
_BACKLOG: Final = replace(_ONE_MACHINE, backlog=40_000, warm_up=1.0, seconds=4.0)
_CHECKS: Final = {
    "ingest 32": replace(_ONE_MACHINE, connections=32, workers=0, relays=0),
    "ingest 256": replace(_ONE_MACHINE, connections=256, workers=0, relays=0),
    "ingest 1": replace(_ONE_MACHINE, connections=1, workers=0, relays=0),
    "drain, steady part": _BACKLOG,
    "sustained": replace(_ONE_MACHINE, connections=32, held=600),
    "idle p50": replace(_ONE_MACHINE, rate=20.0),
}
_PARTS: Final = ("api", "relay", "turn", "worker", "slots", "messages", "redis", "postgres", "disk")

console = Console(highlight=False, width=200)


def run(  # noqa: PLR0913 - a command has as many options as it has
    *,
    rate: Annotated[float, typer.Option(min=0, help="Events a second; 0: the table, or what --check compares.")] = 0.0,
    api: Annotated[int, typer.Option(min=1, help="API processes.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes.")] = 8,
    relays: Annotated[int, typer.Option(min=0, help="Relays.")] = 2,
    queues: Annotated[int, typer.Option(min=1, help="Queues over which events spread evenly.")] = 1,
    postgres_cores: Annotated[int, typer.Option(min=1, help="Cores of PostgreSQL.")] = 8,
    slots: Annotated[int, typer.Option(min=1, help="Runs under way at once in a worker.")] = Scenario().slots,
    concurrency: Annotated[int, typer.Option(min=1, help="Messages at once in a worker.")] = Scenario().concurrency,
    window: Annotated[int, typer.Option(min=1, help="Sent but unclaimed runs, per queue.")] = Scenario().window,
    take_max: Annotated[int, typer.Option(min=1, help="Runs taken and published at once.")] = Scenario().take_max,
    wait: Annotated[float, typer.Option(min=0, help="Seconds that a run waits for others.")] = 0.0,
    flush_ms: Annotated[float | None, typer.Option(min=0, help="An fsync's milliseconds; else as measured.")] = None,
    wal_mb: Annotated[float, typer.Option(min=1, help="Megabytes of WAL that the disk takes a second.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=1, help="Simulated seconds that count.")] = 8.0,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Simulate the machine that was measured, and compare.")
    ] = False,
) -> None:
    """Simulate the system with the costs of benchmarks/measured.toml."""
    costs = load()
    if check:
        _check(costs, FILE)
        return
    asked = Scenario(
        rate=rate,
        api=api,
        workers=workers,
        relays=relays,
        queues=queues,
        postgres_cores=postgres_cores,
        slots=slots,
        concurrency=concurrency,
        window=window,
        take_max=take_max,
        wait=wait,
        flush_ms=flush_ms,
        wal_mb=wal_mb,
        seconds=seconds,
        seed=seed,
    )
    _show((scenario, simulate(scenario, costs)) for scenario in ([asked] if rate else _TABLE))


def _show(found: Iterable[tuple[Scenario, Report]]) -> None:
    table = Table(title="simulated; parts: share of the time busy, * saturated", title_justify="left")
    table.add_column("")
    columns = [dict(_cells(scenario, report)) for scenario, report in found]
    for column in columns:
        table.add_column(column["events/s sent"], justify="right")
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    console.print(table)


def _cells(scenario: Scenario, report: Report) -> Iterator[tuple[str, str]]:
    yield "events/s sent", f"{scenario.rate:,.0f}"
    yield "API, workers, relays, queues", f"{scenario.api}, {scenario.workers}, {scenario.relays}, {scenario.queues}"
    yield "accepted/s", f"{report.accepted_rate:,.0f}"
    yield "finished/s", f"{report.finished_rate:,.0f}"
    yield "refused", f"{report.refused:,}"
    yield "in flight at the end", f"{report.in_flight:,}"
    yield "accept p50, p99, ms", _milliseconds(report.accept)
    yield "end to end p50, p99, ms", _milliseconds(report.end_to_end)
    for name in _PARTS:
        share = report.utilisation[name]
        yield name, f"{share:.0%}{' *' if name in report.saturated else ''}"
    yield "PostgreSQL's cores busy", f"{report.postgres_cores:.2f} of {scenario.postgres_cores}"
    yield "WAL MB/s", f"{report.wal / 1e6:.1f}"
    yield "fsyncs/s", f"{report.flushes:,.0f}"
    for kind in ("accept", "publish", "message", "claim", "finish"):
        yield f"mean {kind}", f"{report.batches.get(kind, 0.0):.1f}"


def _milliseconds(quantiles: tuple[float, float]) -> str:
    return ", ".join(f"{seconds * 1000:,.1f}" for seconds in quantiles)


def _check(costs: Costs, path: Path) -> None:
    measured = tomllib.loads(path.read_text(encoding="utf-8"))["figures"]
    table = Table(title="simulated with two cores for everything, and measured there", title_justify="left")
    for name in ("figure", "simulated", "measured", "simulated / measured"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for name, scenario in _CHECKS.items():
        report = simulate(scenario, costs)
        value = _figure(name, report)
        table.add_row(name, f"{value:,.1f}", f"{measured[name]:,.1f}", f"{value / measured[name]:.2f}")
    console.print(table)


def _figure(name: str, report: Report) -> float:
    if name.startswith("ingest"):
        return report.accepted_rate
    return report.end_to_end[0] * 1000 if name.startswith("idle") else report.finished_rate


if __name__ == "__main__":
    typer.run(run)
