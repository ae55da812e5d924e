import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from settings import DatabaseSettings
from storage.bounded import Connection, bounded_transaction
from storage.engine import DatabaseUnavailable, create_engine, transaction

_CONNECTIONS = 8
_MARGIN = 2.0


class Database:
    """The relay's way to PostgreSQL. Nothing waits for ever: the server's own limits don't count when it is gone."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._engine = create_engine(settings, application="relay", pool_size=_CONNECTIONS)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._limit = settings.statement_timeout + _MARGIN

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Open a short transaction; raises ``DatabaseUnavailable`` when PostgreSQL can't be reached in time."""
        async with self._bounded(), transaction(self._engine) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Open a connection on which each statement stands alone, without a round trip to begin and end it."""
        async with self._bounded(), transaction(self._reading) as connection:
            yield connection

    @asynccontextmanager
    async def glance(self, *, within: float) -> AsyncIterator[Connection]:
        """Open a connection as ``reading`` does, and be done with it ``within`` seconds whatever PostgreSQL does."""
        async with bounded_transaction(self._reading, within=within) as connection:
            yield connection

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limit):
                yield
        except TimeoutError as error:
            raise DatabaseUnavailable("PostgreSQL does not answer") from error
