import os
from pathlib import Path
from typing import Annotated

import typer

from settings import load_settings

_FOLDER = Path(".throughline")


def up(
    *,
    data: Annotated[Path, typer.Option(help="Where the servers keep their data, and the logs are.")] = _FOLDER,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    postgres_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of our PostgreSQL; 0: any free one.")] = 0,
    redis_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of our Redis; 0: any free one.")] = 0,
    reload: Annotated[
        bool | None,
        typer.Option(
            "--reload/--no-reload",
            help="Restart API and workers when a pipeline's source changes; as THROUGHLINE_PIPELINES_RELOAD says.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start everything here and keep it running until Ctrl-C.

    With THROUGHLINE_DATABASE_URL or THROUGHLINE_REDIS_URL set, that server is used and none is started; it is only
    migrated, never emptied. Ports are settings: THROUGHLINE_API_PORT, THROUGHLINE_FLOWER_PORT, ….
    """
    from throughline.local import StackPlan
    from throughline.local.up import stay_up

    plan = StackPlan(
        database_url=os.environ.get("THROUGHLINE_DATABASE_URL"),
        redis_url=os.environ.get("THROUGHLINE_REDIS_URL"),
        postgres_port=postgres_port,
        redis_port=redis_port,
        workers=workers,
    )
    settings = load_settings()
    stay_up(settings, plan, data=data, reload=settings.pipelines.reload if reload is None else reload)


def demo(
    *,
    events: Annotated[
        Path | None, typer.Option(help="A JSON file or a folder of them, instead of the project's own samples.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that the events have to end.")] = 120.0,
) -> None:
    """Start everything in a folder of its own, send events through it, show what came of them, and stop everything."""
    from throughline.demo import run_demo
    from throughline.supervision import StopRequested

    try:
        code = run_demo(load_settings(), events=events, timeout=timeout)
    except StopRequested as stop:
        raise typer.Exit(stop.exit_code) from None
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the commands that run the whole system."""
    app.command()(up)
    app.command()(demo)
