"""Looking at the database for people: one moment, read only, bounded in time, by indexes alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import Text

from storage.bounded import bounded_transaction
from storage.sql import typed

# However large the history is, and whatever the planner believes: a look goes by indexes, from few rows to the next.
_SETTINGS = typed(
    """
    SELECT set_config('statement_timeout', :timeout, true), set_config('enable_seqscan', 'off', true),
           set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
    """,
    timeout=Text(),
)
_NOW = typed("SELECT now() AS now")


@asynccontextmanager
async def snapshot(engine: AsyncEngine, *, within: float) -> AsyncIterator[AsyncConnection]:
    """Open a read-only transaction that sees one moment and has ended ``within`` seconds from now.

    Raises:
        DatabaseUnavailable: PostgreSQL is away, or the time was over.

    """
    looking = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    async with bounded_transaction(looking, within=within) as connection:
        await connection.execute(_SETTINGS, {"timeout": str(int(within * 1000))})
        yield connection


async def time_of(connection: AsyncConnection) -> datetime:
    """Tell when the transaction began, by PostgreSQL's clock."""
    moment: datetime = (await connection.execute(_NOW)).scalar_one()
    return moment
