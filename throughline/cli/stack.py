import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from settings import load_settings
from throughline.cli.output import console
from throughline.embedded import DEFAULT_FOLDER, DataFolder
from throughline.local import LocalStack, StackPlan
from throughline.supervision import OnExit, Progress, Step, StopRequested, Supervisor

_STYLE = {Step.READY: "green", Step.ENDED: "red", Step.KILLED: "red", Step.RESTARTING: "yellow"}


def show_progress(progress: Progress) -> None:
    """Print what happened to a service, one line each; a report of its end is longer."""
    if progress.step is Step.STOPPING:
        return
    style = _STYLE.get(progress.step, "dim")
    console.print(f"[{style}]  {escape(str(progress))}[/{style}]", soft_wrap=True)


def up(
    *,
    data: Annotated[Path, typer.Option(help="Where the servers keep their data, and the logs are.")] = DEFAULT_FOLDER,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    postgres_port: Annotated[int, typer.Option(help="Port of our PostgreSQL; 0: any free one.")] = 0,
    redis_port: Annotated[int, typer.Option(help="Port of our Redis; 0: any free one.")] = 0,
) -> None:
    """Start everything here and keep it running until Ctrl-C.

    With THROUGHLINE_DATABASE_URL or THROUGHLINE_REDIS_URL set, that server is used and none is started; it is only
    migrated, never emptied. Ports are settings: THROUGHLINE_API_PORT, THROUGHLINE_FLOWER_PORT, ….
    """
    plan = StackPlan(
        database_url=os.environ.get("THROUGHLINE_DATABASE_URL"),
        redis_url=os.environ.get("THROUGHLINE_REDIS_URL"),
        postgres_port=postgres_port,
        redis_port=redis_port,
        workers=workers,
    )
    settings = load_settings()
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
        "send one": f"throughline events send --url {stack.api_url} FILE",
    }
    console.print()
    for name, said in lines.items():
        console.print(f"{name:>9}  {said}", markup=False, soft_wrap=True)
    console.print("\n  up; Ctrl-C stops everything", style="bold")


def demo(
    *,
    events: Annotated[
        Path | None, typer.Option(help="A JSON file or a folder of them, instead of the project's own samples.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that the events have to end.")] = 120.0,
) -> None:
    """Start everything in a folder of its own, send events through it, show what came of them, and stop everything."""
    from throughline.demo import run_demo  # noqa: PLC0415 - the other commands don't need it

    try:
        code = run_demo(load_settings(), events=events, timeout=timeout)
    except StopRequested as stop:
        raise typer.Exit(stop.exit_code) from None
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the commands that run the whole system."""
    app.command()(up)
    app.command()(demo)
