import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
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
    apart = _Apart(main)
    try:
        threading.Thread(target=apart.run, name="migrate").start()
        apart.ended.wait()
    except BaseException:
        apart.cancel()
        raise
    if apart.error is not None:
        raise apart.error


class _Apart:
    """A coroutine that another thread runs. Who starts the thread may be interrupted before it is known to run."""

    def __init__(self, main: Coroutine[Any, Any, None]) -> None:
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._main = main
        self._lock = threading.Lock()
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Run it to its end, unless it was cancelled before it began."""
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            loop = runner.get_loop()
            with self._lock:
                if self._cancelled:
                    return
                self._task = loop.create_task(self._main)
            try:
                loop.run_until_complete(self._task)
            except BaseException as error:  # noqa: BLE001 - it is raised where the thread was started
                self.error = error
            finally:
                self.ended.set()

    def cancel(self) -> None:
        """Have it end as soon as it can, and wait until it has; it won't begin any more if it has not."""
        with self._lock:
            self._cancelled, task = True, self._task
        if task is None:
            self._main.close()
            return
        if not self.ended.is_set():
            with suppress(RuntimeError):  # its loop is closed: it has ended this moment
                task.get_loop().call_soon_threadsafe(task.cancel)
            self.ended.wait()


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
