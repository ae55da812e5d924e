import asyncio
import json
import re
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.table import Table

from events import ConfigurationError
from settings import DatabaseSettings, LogLevel
from throughline.cli.database import Data, reachable, settings_for
from throughline.cli.output import console, duration, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from observability.level_watch import AskedLevel, Service

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}
_DURATION = re.compile(r"(\d{1,6})(s|m|min|h)")
_LONGEST = 24 * 3600


def log_level(
    level: Annotated[
        str | None, typer.Argument(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR; without one, it shows.")
    ] = None,
    *,
    service: Annotated[
        list[str] | None, typer.Option(help="api, relay or worker; may be repeated. All three without it.")
    ] = None,
    lasts: Annotated[str, typer.Option("--for", help="How long: 30s, 10m, 2h; a day at most.")] = "10m",
    reset: Annotated[bool, typer.Option("--reset", help="Go back to what the settings say.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is in force then as JSON.")] = False,
    data: Data = None,
) -> None:
    """Show or change the log level of all processes of a service at once, for a while, without a restart."""
    if level is not None and reset:
        raise ConfigurationError("give a level or --reset, not both")
    services = _services(service)
    wanted = _level(level) if level is not None else None
    seconds = _seconds(lasts)
    settings = settings_for(data).database
    with reachable(settings):
        asked = asyncio.run(_change(settings, services, wanted, seconds=seconds, reset=reset))
    if as_json:
        typer.echo(json.dumps({name.value: _json(asked.get(name)) for name in services}))
    else:
        _show(services, asked, changed=reset or wanted is not None)


async def _change(
    settings: DatabaseSettings, services: "Sequence[Service]", level: LogLevel | None, *, seconds: float, reset: bool
) -> "Mapping[Service, AskedLevel]":
    from storage.engine import create_engine, transaction
    from storage.log_levels import ask_level, asked_levels, withdraw_levels

    engine = create_engine(settings, application="log-level", pool_size=1)
    try:
        async with transaction(engine) as connection:
            if reset:
                await withdraw_levels(connection, services)
            elif level is not None:
                await ask_level(connection, services, level=level, seconds=seconds)
            return await asked_levels(connection, services)
    finally:
        await engine.dispose()


def _show(services: "Sequence[Service]", asked: "Mapping[Service, AskedLevel]", *, changed: bool) -> None:
    from observability.level_watch import LOOK_SECONDS

    table = Table("service", "level", "until", "left", box=None, pad_edge=False)
    for service in services:
        if found := asked.get(service):
            until = found.until.strftime("%Y-%m-%d %H:%M:%S UTC")
            table.add_row(service, f"[bold]{found.level}[/bold]", until, duration(found.left))
        else:
            table.add_row(service, "as its settings say", "", "")
    console.print(table)
    if changed:
        console.print(f"Processes that run follow within {LOOK_SECONDS:g} s, and say so in their log.")


def _json(asked: "AskedLevel | None") -> dict[str, object] | None:
    if asked is None:
        return None
    return {"level": asked.level, "until": asked.until.isoformat(), "seconds_left": round(asked.left, 3)}


def _services(named: list[str] | None) -> "list[Service]":
    from observability.level_watch import Service

    known = {service.value: service for service in Service}
    for name in named or ():
        if name not in known:
            raise ConfigurationError(f"--service: {plain(name)!r} is none of {', '.join(known)}")
    return [service for service in Service if not named or service.value in named]


def _level(text: str) -> LogLevel:
    known: dict[str, LogLevel] = {level: level for level in get_args(LogLevel)}
    if text.upper() not in known:
        raise ConfigurationError(f"{plain(text)!r} is no log level: DEBUG, INFO, WARNING or ERROR")
    return known[text.upper()]


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"--for: {plain(text)!r} is no duration; give one as 30s, 10m or 2h")
    seconds = int(found[1]) * _UNITS[found[2]]
    if not 1 <= seconds <= _LONGEST:
        raise ConfigurationError("--for: give 1s to 24h; what is to last belongs into THROUGHLINE_LOG_LEVEL")
    return seconds


def register(app: typer.Typer) -> None:
    """Add the command that changes the log level."""
    app.command("log-level")(log_level)
