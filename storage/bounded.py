import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.engine import DatabaseUnavailable, transaction

Connection: TypeAlias = AsyncConnection
"""What the functions of storage take, for layers that don't know SQLAlchemy."""


@asynccontextmanager
async def bounded_transaction(engine: AsyncEngine, *, within: float) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that has ended ``within`` seconds from now, whatever PostgreSQL does.

    A server that is stopped or out of reach answers neither a statement nor its cancellation nor a rollback: when the
    time is over the connection is cut, which ends all three.

    Raises:
        DatabaseUnavailable: as ``transaction``, or the time was over.

    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    timer: asyncio.TimerHandle | None = None
    try:
        async with AsyncExitStack() as stack:
            connection = await _connected(stack, engine, deadline)
            driver = (await connection.get_raw_connection()).driver_connection
            timer = loop.call_at(deadline, driver.terminate) if driver is not None else None
            yield connection
    finally:
        if timer is not None:
            timer.cancel()


async def _connected(stack: AsyncExitStack, engine: AsyncEngine, deadline: float) -> AsyncConnection:
    try:
        async with asyncio.timeout_at(deadline):
            return await stack.enter_async_context(transaction(engine))
    except TimeoutError as error:
        raise DatabaseUnavailable("PostgreSQL gave no connection in time") from error
