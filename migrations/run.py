import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events import ConfigurationError
from settings import DatabaseSettings
from storage.engine import create_engine

_LOCK = 0x7472_6C69_6E65
_LOCK_WAIT_SECONDS = 300
_TRY_EVERY_SECONDS = 0.2


class MigrationError(ConfigurationError):
    """The database could not be migrated."""


class SchemaState(StrEnum):
    """How a database's schema stands to this release."""

    EMPTY = "empty"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


def upgrade(settings: DatabaseSettings, revision: str = "head") -> None:
    """Migrate up to ``revision``. Any number of processes may call this at once: one migrates, the others wait.

    Each migration is one transaction; a lock that isn't had in 5 s or a statement over 60 s ends it unchanged.

    Raises:
        MigrationError: the database was migrated by a newer release, or another migration holds the lock for 5 min.

    """
    _run_apart(_locked(settings, lambda config: command.upgrade(config, revision)))


def downgrade(settings: DatabaseSettings, revision: str) -> None:
    """Migrate down to ``revision`` (``base`` for an empty database); what the newer schema held is dropped."""
    _run_apart(_locked(settings, lambda config: command.downgrade(config, revision)))


async def schema_state(settings: DatabaseSettings) -> SchemaState:
    """Tell whether the schema is empty, older than this release, current, or from a newer release."""
    engine = create_engine(settings, application="migrate", pool_size=1)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_state)
    finally:
        await engine.dispose()


def _run_apart(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on a thread of its own, to its end; what is raised in this one meanwhile cancels it.

    A signal's handler may raise anywhere in the main thread. Inside the driver's or greenlet's C code that loses the
    exception, leaves a statement waiting for ever or ends the process by a segmentation fault.
    """
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner, ThreadPoolExecutor(1) as thread:
        loop = runner.get_loop()
        task = loop.create_task(main)
        ended = thread.submit(loop.run_until_complete, task)
        try:
            ended.result()
        except BaseException:
            loop.call_soon_threadsafe(task.cancel)
            raise


async def _locked(settings: DatabaseSettings, action: Callable[[Config], None]) -> None:
    engine = create_engine(settings, application="migrate", pool_size=2)
    try:
        async with engine.connect() as guard, engine.connect() as connection:
            await _lock(guard)
            await connection.run_sync(_migrate, action)
            await connection.commit()
    except CommandError as error:
        raise MigrationError(str(error)) from error
    finally:
        await engine.dispose()


async def _lock(guard: AsyncConnection) -> None:
    """Take the session's advisory lock; it ends with the connection, also when this process dies."""
    await guard.execution_options(isolation_level="AUTOCOMMIT")
    give_up_at = time.monotonic() + _LOCK_WAIT_SECONDS
    while not (await guard.execute(text(f"SELECT pg_try_advisory_lock({_LOCK})"))).scalar_one():
        if time.monotonic() > give_up_at:
            raise MigrationError(f"another migration has held the lock for {_LOCK_WAIT_SECONDS} s")
        await asyncio.sleep(_TRY_EVERY_SECONDS)


def _migrate(connection: Connection, action: Callable[[Config], None]) -> None:
    if _state(connection) is SchemaState.NEWER:
        raise MigrationError("the database was migrated by a newer release of Throughline; run that one")
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.execute(text("SET statement_timeout = '60s'"))
    connection.commit()
    config = _config()
    config.attributes["connection"] = connection
    action(config)


def _state(connection: Connection) -> SchemaState:
    script = ScriptDirectory.from_config(_config())
    current = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    if current is None:
        return SchemaState.EMPTY
    if current == script.get_current_head():
        return SchemaState.CURRENT
    known = {revision.revision for revision in script.walk_revisions()}
    return SchemaState.OLDER if current in known else SchemaState.NEWER


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
