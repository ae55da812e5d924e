from contextlib import AbstractAsyncContextManager

from settings import DatabaseSettings
from storage.bounded import Connection, bounded_transaction
from storage.engine import create_engine


class Database:
    """The connections of one process, never shared across a fork. Nothing waits longer than it says."""

    def __init__(self, settings: DatabaseSettings, *, application: str, pool_size: int | None = None) -> None:
        self._engine = create_engine(settings, application=application, pool_size=pool_size)
        self._alone = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._within = settings.statement_timeout + settings.pool_timeout

    def transaction(self, *, within: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that has ended ``within`` seconds from now; see ``bounded_transaction``."""
        return bounded_transaction(self._engine, within=within or self._within)

    def statement(self, *, within: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Open a connection on which each statement commits by itself: a round trip in place of three."""
        return bounded_transaction(self._alone, within=within or self._within)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()
