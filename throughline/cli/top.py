import asyncio
import sys
from typing import Annotated

import typer

from throughline.cli.database import Data, data_hint, reachable, settings_for
from throughline.cli.output import console


def top(
    *,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one look; so it is also where no terminal is.")] = False,
    data: Data = None,
) -> None:
    """Show how the whole system is doing, live; read from the database alone. q or Ctrl-C ends it."""
    from throughline.top import look_once, watch

    settings = settings_for(data)
    if once or not sys.stdout.isatty():
        with reachable(settings.database, hint=data_hint()):
            screen = asyncio.run(look_once(settings.database, interval=interval))
        console.print(screen)
    else:
        asyncio.run(watch(settings.database, interval=interval, console=console))


def register(app: typer.Typer) -> None:
    """Add the command that shows all."""
    app.command()(top)
