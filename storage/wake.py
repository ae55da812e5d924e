"""The wake-up from who made runs due to who publishes them. Lost ones cost a poll interval, never a run."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from settings import DatabaseSettings
from storage.engine import CONNECTION_FAULTS, connect

CHANNEL = "throughline_due"

NOTIFY = f"NOTIFY {CHANNEL}"
"""Wakes the relays. It is run in a transaction of its own: NOTIFY serialises the commits it rides with."""

_NOTIFY = text(NOTIFY)


async def notify(connection: AsyncConnection) -> None:
    """Run ``NOTIFY`` in a transaction that has nothing else to do."""
    await connection.execute(_NOTIFY)


class WakeListener:
    """A connection that listens; ``on_wake`` is called in the event loop for each notification.

    It is called as well when the connection is lost and when there is one again: what was notified meanwhile is lost.
    """

    def __init__(self, settings: DatabaseSettings, *, application: str, on_wake: Callable[[], None]) -> None:
        self._settings = settings
        self._application = application
        self._on_wake = on_wake
        self._connection: asyncpg.Connection | None = None

    @property
    def listening(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def ensure(self) -> None:
        """Connect and listen where that is not so, and ask for a sign of life where it is.

        A connection whose other end vanished without a word looks well for many minutes: it is given up here when no
        answer comes within the connect timeout. Raises what connecting raises.
        """
        if self.listening and await self._alive():
            return
        await self.close()
        connection = await connect(self._settings, application=self._application)
        try:
            connection.add_termination_listener(lambda *_: self._on_wake())
            await connection.add_listener(CHANNEL, lambda *_: self._on_wake())
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        self._on_wake()

    async def close(self) -> None:
        """Stop listening."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    async def _alive(self) -> bool:
        assert self._connection is not None  # noqa: S101 - for the type checker
        with suppress(*CONNECTION_FAULTS, asyncpg.PostgresError):
            async with asyncio.timeout(self._settings.connect_timeout):
                await self._connection.execute("SELECT 1")
            return True
        return False
