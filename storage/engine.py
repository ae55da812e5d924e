import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
from pydantic_core import from_json
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from events import Transient
from settings import DatabaseSettings

CONNECTION_FAULTS = (
    OSError,
    TimeoutError,
    PoolTimeoutError,
    InterfaceError,
    OperationalError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection whose server said goodbye while nobody asked
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    ssl.SSLError,
)

_CLOSE_WITHIN = 0.3
"""Seconds to close a connection in order; a pool closes one after the other."""

_UNAVAILABLE_CLASSES = frozenset({"08", "28", "3D", "40", "53", "57", "58"})
_NOT_MIGRATED_STATES = frozenset({"42P01", "42703"})
_UNAVAILABLE_STATES = frozenset({"25006"}) | _NOT_MIGRATED_STATES
"""A standby, which takes no writes; a table or column that is not migrated yet. Somebody mends them while we run."""


class DatabaseUnavailable(Transient):
    """PostgreSQL can't be reached or can't answer now."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """One that a server which doesn't answer can't keep from being closed, as SQLAlchemy's pools do without a limit."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        with suppress(TimeoutError):  # it was cut then
            await super().close(timeout=min(timeout or _CLOSE_WITHIN, _CLOSE_WITHIN))


def dsn_of(settings: DatabaseSettings) -> str:
    """Return the URL as asyncpg takes it: without a driver's name in the scheme."""
    scheme, separator, rest = settings.url.get_secret_value().partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"


async def connect(settings: DatabaseSettings, *, application: str) -> asyncpg.Connection:
    """Open one connection outside any pool, as LISTEN needs it.

    Raises whatever asyncpg raises; ``is_unavailable`` tells what passes by itself.
    """
    return await asyncpg.connect(
        dsn_of(settings),
        timeout=settings.connect_timeout,
        connection_class=_Connection,
        statement_cache_size=100 if settings.prepared_statements else 0,
        server_settings={
            "application_name": f"throughline-{application}",
            "statement_timeout": str(int(settings.statement_timeout * 1000)),
            "idle_in_transaction_session_timeout": str(int(settings.statement_timeout * 2000)),
            "timezone": "UTC",
            "jit": "off",
            # As for a disk without arms: by the server's own 4.0 a new table is read as a whole for each key.
            "random_page_cost": "1.1",
        },
    )


def create_engine(settings: DatabaseSettings, *, application: str, pool_size: int | None = None) -> AsyncEngine:
    """Make the engine of one process; ``application`` is its name in ``pg_stat_activity``.

    An engine is never shared across a fork: each child makes its own.
    """

    async def creator() -> asyncpg.Connection:
        return await connect(settings, application=application)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=creator,
        pool_size=pool_size or settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        pool_use_lifo=True,
        hide_parameters=True,
        json_deserializer=from_json,
    )


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that commits at the end of the block.

    Raises:
        DatabaseUnavailable: the fault is the connection's or the server's, not the statement's.

    """
    try:
        async with engine.begin() as connection:
            yield connection
    except Exception as error:
        if is_unavailable(error):
            raise DatabaseUnavailable(f"PostgreSQL is unavailable: {_name(error)}") from error
        raise


def is_unavailable(error: BaseException) -> bool:
    """Say whether ``error`` is one that passes by itself once PostgreSQL is well."""
    if _is_unencodable(error):
        return False
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or not _sqlstate(error) or _passes(_sqlstate(error))
    if isinstance(error, asyncpg.PostgresError):
        return _passes(_sqlstate(error))
    return isinstance(error, CONNECTION_FAULTS)


def is_not_migrated(error: BaseException) -> bool:
    """Say whether ``error`` is that a table or column isn't there."""
    return isinstance(error, DBAPIError | asyncpg.PostgresError) and _sqlstate(error) in _NOT_MIGRATED_STATES


def _is_unencodable(error: BaseException) -> bool:
    """Say whether the driver could not even encode a value, which has no SQLSTATE."""
    origin = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else error
    return isinstance(origin, asyncpg.InterfaceError) and isinstance(origin, ValueError)


def _passes(state: str) -> bool:
    return state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_STATES


def _name(error: Exception) -> str:
    """Name the driver's own error, which tells more than SQLAlchemy's, and unlike its text quotes no value."""
    origin = error.orig if isinstance(error, DBAPIError) else None
    return type((origin and origin.__cause__) or error).__name__


def _sqlstate(error: DBAPIError | asyncpg.PostgresError) -> str:
    origin = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None) or "")


def refused_state(error: BaseException) -> str | None:
    """Return the SQLSTATE when PostgreSQL refused the values it was given, else None.

    Class 22 is a data exception, which is also what a value is that the driver can't encode, 23 a broken constraint,
    54 a limit (nesting too deep, too large).
    """
    if _is_unencodable(error):
        return "22000"
    if not isinstance(error, DBAPIError | asyncpg.PostgresError):
        return None
    state = _sqlstate(error)
    return state if state[:2] in {"22", "23", "54"} else None
