import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, PrimaryKeyConstraint, UniqueConstraint, event

from migrations import MigrationError, SchemaState, downgrade, schema_state, upgrade
from settings import DatabaseSettings
from storage.engine import create_engine
from storage.tables import metadata


@pytest.fixture
def empty(empty_database_url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": empty_database_url})


def differences(settings: DatabaseSettings) -> list[object]:
    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, metadata))

    async def run() -> list[object]:
        engine = create_engine(settings, application="test")
        async with engine.connect() as connection:
            found = await connection.run_sync(compare)
        await engine.dispose()
        return found

    return asyncio.run(run())


def execute(settings: DatabaseSettings, statement: str) -> list[asyncpg.Record]:
    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(settings.url.get_secret_value())
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(run())


def test_up_down_and_up_again_ends_with_exactly_the_models_tables(empty: DatabaseSettings) -> None:
    assert asyncio.run(schema_state(empty)) is SchemaState.EMPTY
    upgrade(empty)
    assert differences(empty) == []
    downgrade(empty, "base")
    left = execute(empty, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tablename"] for row in left] == ["alembic_version"]
    upgrade(empty)
    assert differences(empty) == []
    assert asyncio.run(schema_state(empty)) is SchemaState.CURRENT


def test_checks_of_the_models_stand_in_the_database(empty: DatabaseSettings) -> None:
    upgrade(empty)
    stored = {row["conname"] for row in execute(empty, "SELECT conname FROM pg_constraint WHERE contype = 'c'")}
    wanted = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }
    assert wanted <= stored


def test_processes_that_migrate_at_once_do_no_harm(empty: DatabaseSettings) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(upgrade, empty) for _ in range(4)]:
            done.result(timeout=60)
    assert differences(empty) == []


def test_a_migration_that_cannot_get_its_lock_changes_nothing(empty: DatabaseSettings) -> None:
    upgrade(empty, "0004")

    async def hold_and_migrate() -> str:
        connection = await asyncpg.connect(empty.url.get_secret_value())
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE runs IN ACCESS SHARE MODE")
        try:
            with pytest.raises(Exception, match="lock timeout") as caught:
                await asyncio.to_thread(downgrade, empty, "base")
        finally:
            await transaction.rollback()
            await connection.close()
        return str(caught.value)

    asyncio.run(hold_and_migrate())
    assert execute(empty, "SELECT version_num FROM alembic_version")[0][0] == "0004"
    upgrade(empty)
    assert differences(empty) == []


class Stopped(KeyboardInterrupt):
    """What a stop signal's handler raises."""


def test_a_stop_signal_never_lands_inside_the_driver_and_ends_the_migration(empty: DatabaseSettings) -> None:
    landed: list[BaseException] = []

    came = threading.Event()

    def stop(*_: object) -> None:
        came.set()
        raise Stopped

    def on_statement(_connection: Connection, _cursor: Any, statement: str, *_: object) -> None:
        if "CREATE TABLE events" not in statement:
            return
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            came.wait(10)
        except Stopped as error:
            landed.append(error)

    before = signal.signal(signal.SIGUSR1, stop)
    event.listen(Engine, "before_cursor_execute", on_statement)
    try:
        with pytest.raises(Stopped):
            upgrade(empty)
    finally:
        event.remove(Engine, "before_cursor_execute", on_statement)
        signal.signal(signal.SIGUSR1, before)
    assert landed == []
    assert execute(empty, "SELECT to_regclass('events') AS found")[0]["found"] is None
    assert (
        execute(
            empty,
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%migrate%'",
        )
        == []
    )


@pytest.mark.parametrize("began", [False, True])
def test_a_stop_signal_while_the_migration_is_being_begun_ends_it(
    empty: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, began: bool
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name != "migrate":
            start(thread)
            return
        if began:
            start(thread)
        raise Stopped

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(Stopped):
        upgrade(empty)
    assert execute(empty, "SELECT to_regclass('events') AS found")[0]["found"] is None
    assert (
        execute(
            empty,
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%migrate%'",
        )
        == []
    )


def test_a_database_of_a_newer_release_is_left_alone(empty: DatabaseSettings) -> None:
    upgrade(empty)
    execute(empty, "UPDATE alembic_version SET version_num = 'from_the_future'")
    assert asyncio.run(schema_state(empty)) is SchemaState.NEWER
    with pytest.raises(MigrationError, match="newer release"):
        upgrade(empty)


def test_a_long_history_does_not_put_off_vacuuming_the_hot_tables(empty: DatabaseSettings) -> None:
    options = "SELECT relname FROM pg_class WHERE reloptions::text LIKE '%autovacuum_vacuum_scale_factor%'"
    upgrade(empty)
    assert {row[0] for row in execute(empty, options)} == {"runs", "attempts", "node_results", "events"}
    downgrade(empty, "0001")
    assert execute(empty, options) == []


def test_tenant_leads_every_key() -> None:
    for table in metadata.tables.values():
        keys = [c for c in table.constraints if isinstance(c, PrimaryKeyConstraint | UniqueConstraint)]
        unique = [index for index in table.indexes if index.unique]
        assert keys
        assert all(next(iter(key.columns)).name == "tenant" for key in (*keys, *unique)), table.name


def test_times_carry_a_zone_and_text_is_utf8(empty: DatabaseSettings) -> None:
    upgrade(empty)
    naive = execute(
        empty,
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'timestamp without time zone'",
    )
    assert naive == []
    assert execute(empty, "SHOW server_encoding")[0][0] == "UTF8"
