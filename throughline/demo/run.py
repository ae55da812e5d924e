import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from settings import Settings
from throughline.cli.output import console, duration, styled
from throughline.client import FINAL, ApiRefused, Client
from throughline.demo.outcome import Outcome
from throughline.embedded import DataFolder
from throughline.local import LocalStack, StackPlan
from throughline.local.pipelines import require_pipelines
from throughline.local.up import show_progress
from throughline.samples import SAMPLES, read_samples
from throughline.supervision import OnExit, Supervisor
from throughline.timeline import show_event

_ROWS = 16


def run_demo(settings: Settings, *, events: Path | None, timeout: float) -> int:
    """Run the demo; return 0 only if every event ended as it should. Nothing stays: no process, no file."""
    require_pipelines(settings.pipelines)
    outcomes = [Outcome(sample=sample) for sample in read_samples(events or SAMPLES)]
    home = Path(tempfile.mkdtemp(prefix="throughline-demo-"))
    try:
        with DataFolder(home) as folder, Supervisor(on_exit=OnExit.FAIL, report=show_progress) as supervisor:
            _heading("Starting PostgreSQL, Redis, API, relay, worker, cell and Flower")
            stack = LocalStack(settings, StackPlan(free_ports=True), folder=folder)
            stack.start(supervisor, say=lambda text: console.print(f"  {text}", style="dim"))
            with Client(stack.api_url) as client:
                _send(client, outcomes, supervisor)
                _wait(client, outcomes, supervisor, timeout=timeout)
            _report(outcomes, logs=folder.logs)
            _heading("Stopping everything")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return _verdict(outcomes)


def _send(client: Client, outcomes: list[Outcome], supervisor: Supervisor) -> None:
    _heading(f"Sending {len(outcomes)} events to {client.url}/events")
    began = time.monotonic()
    with _progress() as progress:
        for outcome in progress.track(outcomes, description="  sent"):
            supervisor.check()
            try:
                outcome.event_id = client.send(outcome.sample.event)["event_id"]
            except ApiRefused as refused:
                outcome.refusal = str(refused)
    accepted = sum(outcome.event_id is not None for outcome in outcomes)
    console.print(f"  {accepted} accepted in {duration(time.monotonic() - began)}, each with a 202 after its commit")


def _wait(client: Client, outcomes: list[Outcome], supervisor: Supervisor, *, timeout: float) -> None:
    began = time.monotonic()
    open_ = [outcome for outcome in outcomes if outcome.event_id is not None]
    with _progress() as progress:
        task = progress.add_task("  ended", total=len(open_))
        while open_ and time.monotonic() < began + timeout:
            supervisor.check()
            for outcome in list(open_):
                outcome.event = client.event(outcome.event_id or "")
                if outcome.event["status"] in FINAL:
                    open_.remove(outcome)
                    progress.advance(task)
            if open_:
                supervisor.watch(timeout=0.1)
    console.print(f"  all ended after {duration(time.monotonic() - began)}" if not open_ else f"  {len(open_)} open")


def _report(outcomes: list[Outcome], *, logs: Path) -> None:
    _heading("Outcomes")
    console.print(_each(outcomes) if len(outcomes) <= _ROWS else _by_type(outcomes))
    shown = [outcome.event for outcome in outcomes if outcome.event]
    if shown:
        event = max(shown, key=_nodes_run)
        _heading("The line of one event")
        show_event(event)
        console.print(f"\n  log lines with this trace: {_log_lines(str(event['trace_id']), logs)}")


def _nodes_run(event: dict[str, Any]) -> int:
    return sum(node["status"] == "succeeded" for run in event["runs"] for node in run["nodes"])


def _each(outcomes: list[Outcome]) -> Table:
    table = Table("sample", "type", "pipelines", "status", "took", box=None, pad_edge=False)
    for outcome in outcomes:
        took = duration(outcome.seconds)
        name, kind = escape(outcome.sample.name), escape(str(outcome.sample.event["type"]))
        table.add_row(name, kind, outcome.pipelines, styled(outcome.status), took)
    return table


def _by_type(outcomes: list[Outcome]) -> Table:
    table = Table("type", "events", "pipelines", "status", "took at most", box=None, pad_edge=False)
    groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[str(outcome.sample.event["type"]), outcome.status, outcome.pipelines].append(outcome)
    for (kind, status, pipelines), group in sorted(groups.items()):
        took = max((outcome.seconds or 0.0 for outcome in group), default=None)
        table.add_row(escape(kind), str(len(group)), pipelines, styled(status), duration(took))
    return table


def _log_lines(trace_id: str, logs: Path) -> str:
    counts = {
        path.stem: sum(trace_id in line for line in path.read_text(errors="replace").splitlines())
        for path in sorted(logs.glob("*.log"))
    }
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _verdict(outcomes: list[Outcome]) -> int:
    wrong = [(outcome.sample.name, problem) for outcome in outcomes if (problem := outcome.problem)]
    for name, problem in wrong[:20]:
        console.print(f"{name}: {problem}", style="red", markup=False, soft_wrap=True)
    if wrong:
        console.print(f"\n{len(wrong)} of {len(outcomes)} events did not end as they should", style="bold red")
        return 1
    console.print(f"\nall {len(outcomes)} events ended as they should", style="bold green")
    return 0


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console)


def _heading(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")
