import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from rich.markup import escape

from settings import Settings
from throughline.cli.output import console
from throughline.embedded import DataFolder
from throughline.local.stack import LocalStack, StackPlan
from throughline.supervision import OnExit, Progress, Step, StopRequested, Supervisor

_STYLE = {Step.READY: "green", Step.ENDED: "red", Step.KILLED: "red", Step.RESTARTING: "yellow"}


def show_progress(progress: Progress) -> None:
    """Print what happened to a service, one line each; a report of its end is longer."""
    if progress.step is Step.STOPPING:
        return
    style = _STYLE.get(progress.step, "dim")
    console.print(f"[{style}]  {escape(str(progress))}[/{style}]", soft_wrap=True)


def stay_up(settings: Settings, plan: StackPlan, *, data: Path) -> None:
    """Start the stack over the folder ``data``, show where it answers, and keep it up until a stop signal."""
    with DataFolder(data) as folder, Supervisor(on_exit=OnExit.RESTART, report=show_progress) as supervisor:
        stack = LocalStack(settings, plan, folder=folder)
        stack.start(supervisor, say=lambda text: console.print(f"  {text}", style="dim"))
        _show_addresses(stack, folder)
        with suppress(StopRequested):
            supervisor.watch()


def _show_addresses(stack: LocalStack, folder: DataFolder) -> None:
    settings = stack.settings
    own = settings.flower.password is None or not os.environ.get("THROUGHLINE_FLOWER_PASSWORD")
    password = f"password in {folder.path / 'flower-password'}" if own else "with the password that you set"
    lines = {
        "API": f"{stack.api_url}/docs",
        "Flower": f"{stack.flower_url} as {settings.flower.user}, {password}",
        "metrics": f"{stack.api_url}/metrics, relay :{settings.relay.metrics_port}, "
        f"worker :{settings.worker.metrics_port}",
        "logs": str(folder.logs),
        "look in": f"{_command()} top --data {shlex.quote(str(folder.path))}, or trace with an event's id",
        "send one": f"{_command()} events send --url {stack.api_url} FILE",
    }
    console.print()
    for name, said in lines.items():
        console.print(f"{name:>9}  {said}", markup=False, soft_wrap=True)
    console.print("\n  up; Ctrl-C stops everything", style="bold")


def _command() -> str:
    """Return what starts the command line in another terminal, where no virtual environment need be active."""
    return "throughline" if shutil.which("throughline") else f"{sys.executable} -m throughline"
