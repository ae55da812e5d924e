import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.bench import FULL, QUICK, Bench, Form
from benchmarks.report import show
from benchmarks.results import Results, Verdict
from benchmarks.sections import SECTIONS, usual
from benchmarks.sections.plain import make_references
from benchmarks.stack import BenchStack, Knobs
from throughline.embedded import DataFolder
from throughline.errors import StackError
from throughline.supervision import StopRequested, Supervisor

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def bench(  # noqa: PLR0913 - a command has as many options as it has
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Everything once, briefly: about two minutes.")] = False,
    only: Annotated[str, typer.Option(help=f"Sections, by commas, of: {', '.join(SECTIONS)}.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the results go as JSON.")] = None,
    api_processes: Annotated[int, typer.Option(min=1, help="API processes.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    traces: Annotated[str, typer.Option(help="Share of the traces sampled, or off.")] = "1.0",
    references: Annotated[bool, typer.Option(help="Measure the references, too; without them no ratios.")] = True,
    repetitions: Annotated[int | None, typer.Option(min=1, help="How often each figure is measured.")] = None,
) -> None:
    """Measure the whole system beside its references; ends with 1 when a figure is below its floor or worth nothing."""
    form = QUICK if quick else FULL
    form = replace(form, repetitions=repetitions or form.repetitions, references=references)
    names = [name for name in only.split(",") if name] or usual(quick=quick)
    if unknown := [name for name in names if name not in SECTIONS]:
        raise typer.BadParameter(f"no such section: {', '.join(unknown)}")
    knobs = Knobs(api_processes=api_processes, workers=workers, traces=traces)
    try:
        results = run(form, knobs, names)
    except StopRequested as stop:
        raise typer.Exit(stop.exit_code) from None
    except StackError as error:
        console.print(f"bench: {error}", style="red", markup=False)
        raise typer.Exit(2) from None
    show(console, results)
    path = json_file or Path(tempfile.gettempdir()) / f"throughline-bench-{int(time.time())}.json"
    path.write_text(json.dumps(results.as_json(), indent=2), encoding="utf-8")
    console.print(f"\nresults as JSON: {path}", markup=False)
    missed = any(one.verdict is Verdict.MISSED for one in results.reached())
    raise typer.Exit(1 if results.complaints or missed else 0)


def run(form: Form, knobs: Knobs, names: list[str]) -> Results:
    """Run these sections over servers of their own, in a folder that goes with them."""
    results = Results()
    results.facts["machine"] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    results.facts["load of the machine before"] = os.getloadavg()
    results.facts["run"] = {"form": form.name, **asdict(knobs)}
    with (
        tempfile.TemporaryDirectory(prefix="throughline-bench-") as home,
        DataFolder(Path(home)) as folder,
        Supervisor() as supervisor,
    ):
        stack = BenchStack(folder, knobs)
        try:
            stack.start(supervisor)
            results.facts["durability"] = stack.database.require_durable()
            make_references(stack)
            measured = Bench(form=form, stack=stack, results=results, say=_say)
            for name in names:
                began = time.monotonic()
                console.print(f"[bold]{name}[/bold]")
                SECTIONS[name](measured)
                console.print(f"  ({time.monotonic() - began:.0f} s)", style="dim")
        finally:
            stack.close()
    return results


def _say(text: str) -> None:
    console.print(f"  {text}", style="dim", markup=False)


if __name__ == "__main__":
    typer.run(bench)
