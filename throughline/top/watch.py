import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.live import Live

from events import DEFAULT_TENANT
from settings import DatabaseSettings
from storage.engine import DatabaseUnavailable, create_engine
from storage.overview import Overview, look_around
from throughline.cli.database import first_line
from throughline.top.keys import asked_to_stop
from throughline.top.screen import Screen

WINDOW: Final = 300.0
"""Seconds back that counts and times go."""

_WITHIN: Final = 5.0
_REST: Final = 9.0
"""A look is followed by a pause of so many times what it took: top never has more than a tenth of a core."""


class _Looker:
    """Looks at one database, again and again."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._engine = create_engine(settings, application="top", pool_size=1)

    async def look(self, *, interval: float) -> Overview:
        return await look_around(self._engine, tenant=DEFAULT_TENANT, interval=interval, window=WINDOW, within=_WITHIN)

    async def close(self) -> None:
        await self._engine.dispose()


async def look_once(settings: DatabaseSettings, *, interval: float) -> Screen:
    """Look once.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.

    """
    looker = _Looker(settings)
    try:
        began = time.monotonic()
        seen = await looker.look(interval=interval)
        return Screen(seen=seen, took=time.monotonic() - began)
    finally:
        await looker.close()


async def watch(settings: DatabaseSettings, *, interval: float, console: Console) -> None:
    """Show how it is doing until somebody has seen enough; while PostgreSQL is away, say so and go on asking."""
    looker = _Looker(settings)
    try:
        with asked_to_stop() as stop:
            screen = Screen(pause=interval)
            with Live(screen, console=console, screen=True, refresh_per_second=2) as live:
                await _keep_looking(looker, stop, screen, interval=interval, show=live.update)
    finally:
        await looker.close()


async def _keep_looking(
    looker: _Looker, stop: asyncio.Event, screen: Screen, *, interval: float, show: Callable[..., None]
) -> None:
    pause = interval
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        began = time.monotonic()
        looking = asyncio.create_task(_next(looker, screen, interval=pause))
        await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not looking.done():
            looking.cancel()
            return
        screen = looking.result()
        pause = max(interval, _REST * (screen.took or 0.0))
        show(screen, refresh=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(stopping), max(began + pause - time.monotonic(), 0.05))


async def _next(looker: _Looker, before: Screen, *, interval: float) -> Screen:
    """Look again; when PostgreSQL is away keep what was seen before."""
    began = time.monotonic()
    try:
        seen = await looker.look(interval=interval)
    except DatabaseUnavailable as error:
        since = before.since or datetime.now(UTC)
        trouble = first_line(error.__cause__ or error)
        return Screen(seen=before.seen, took=before.took, pause=interval, trouble=trouble, since=since)
    return Screen(seen=seen, took=time.monotonic() - began, pause=interval)
