import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg

from settings import DatabaseSettings
from storage.engine import DatabaseUnavailable, connect, is_unavailable


class DriverPool:
    """The driver's own connections, for the statements that come so often that SQLAlchemy's layer is dear.

    There are as many as are in use at once; who needs one takes an idle one or opens another. One that broke is
    dropped. A server that is stopped or out of reach answers neither a statement nor its cancellation nor a rollback:
    when the time is over the connection is cut, which ends all three.
    """

    def __init__(self, settings: DatabaseSettings, *, application: str) -> None:
        self._settings = settings
        self._application = application
        self._idle: list[asyncpg.Connection] = []

    async def execute(self, statement: str, *, within: float) -> None:
        """Run a statement that commits by itself; it has ended ``within`` seconds from now.

        Raises:
            DatabaseUnavailable: as ``transaction``.

        """
        async with self._borrowed(within) as connection:
            await connection.execute(statement)

    @asynccontextmanager
    async def transaction(
        self, *, within: float, before_commit: Callable[[], None]
    ) -> AsyncIterator[asyncpg.Connection]:
        """Open a transaction that has ended ``within`` seconds from now, whatever PostgreSQL does.

        It commits at the end of the block, after ``before_commit``, which may raise.

        Raises:
            DatabaseUnavailable: the fault is the connection's or the server's, or the time is over.

        """
        async with self._borrowed(within) as connection:
            try:
                await connection.execute("BEGIN")
                yield connection
                before_commit()
                await connection.execute("COMMIT")
            except Exception:
                await _roll_back(connection)
                raise

    @asynccontextmanager
    async def _borrowed(self, within: float) -> AsyncIterator[asyncpg.Connection]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        try:
            connection = await self._take(deadline)
            timer = loop.call_at(deadline, connection.terminate)
            sound = False
            try:
                yield connection
                sound = True
            except Exception as error:
                sound = not is_unavailable(error)
                raise
            finally:
                timer.cancel()
                self._give_back(connection, sound=sound)
        except Exception as error:
            if is_unavailable(error):
                raise DatabaseUnavailable(f"PostgreSQL is unavailable: {type(error).__name__}") from error
            raise

    async def warm(self, connections: int) -> None:
        """Open so many to begin with: a first crowd of requests leaves the loop little time to. What fails is left."""
        for _ in range(connections):
            try:
                # Below those in use, which have learnt the statements: it costs two more to teach one.
                self._idle.insert(0, await connect(self._settings, application=self._application))
            except Exception as error:
                if is_unavailable(error):
                    return
                raise

    async def close(self) -> None:
        """Close what is idle, at once where PostgreSQL doesn't answer."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(one.close() for one in idle), return_exceptions=True)

    async def _take(self, deadline: float) -> asyncpg.Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        async with asyncio.timeout_at(deadline):
            return await connect(self._settings, application=self._application)

    def _give_back(self, connection: asyncpg.Connection, *, sound: bool) -> None:
        if sound and not connection.is_closed() and not connection.is_in_transaction():
            self._idle.append(connection)
        else:
            connection.terminate()


async def _roll_back(connection: asyncpg.Connection) -> None:
    """Roll back if that can be; the error that led here is the one to tell."""
    if not connection.is_closed() and connection.is_in_transaction():
        with suppress(Exception):
            await connection.execute("ROLLBACK")
