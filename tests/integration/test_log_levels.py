import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from events import ConfigurationError
from observability.level_watch import AskedLevel, Service
from settings import DatabaseSettings
from storage.engine import create_engine, transaction
from storage.log_levels import ask_level, asked_level, asked_levels
from throughline.cli.main import app

LogLevelCommand = Callable[..., Any]


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def log_level(database_url: str, monkeypatch: pytest.MonkeyPatch) -> LogLevelCommand:
    """Runs ``throughline log-level`` on the test's database, in a thread: it has a loop of its own."""
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", database_url)

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["log-level", *arguments])

    return run


async def asked(engine: AsyncEngine) -> dict[Service, AskedLevel]:
    async with transaction(engine) as connection:
        return await asked_levels(connection, list(Service))


async def test_a_level_is_asked_shown_replaced_and_withdrawn(engine: AsyncEngine, log_level: LogLevelCommand) -> None:
    shown = await log_level()
    assert shown.exit_code == 0, shown.output
    assert [line.split()[:2] for line in shown.output.splitlines()[1:]] == [
        [service, "as"] for service in ("api", "relay", "worker")
    ]

    done = await log_level("debug", "--service", "worker", "--service", "api", "--for", "2h")
    assert done.exit_code == 0, done.output
    assert "within 5 s" in done.output
    found = await asked(engine)
    assert {service: level.level for service, level in found.items()} == {Service.API: "DEBUG", Service.WORKER: "DEBUG"}
    assert 7100 < found[Service.WORKER].left <= 7200
    rows = {line.split()[0]: line for line in (await log_level()).output.splitlines()}
    until = f"{found[Service.API].until:%Y-%m-%d %H:%M:%S}"
    assert rows["api"].split() == ["api", "DEBUG", *until.split(), "UTC", "1", "h", "59", "min"]

    await log_level("ERROR", "--service", "api", "--for", "30s")
    found = await asked(engine)
    assert (found[Service.API].level, found[Service.WORKER].level) == ("ERROR", "DEBUG")
    assert found[Service.API].left <= 30

    assert (await log_level("--reset", "--service", "worker")).exit_code == 0
    assert set(await asked(engine)) == {Service.API}
    said = json.loads((await log_level("--reset", "--json")).stdout)
    assert said == {"api": None, "relay": None, "worker": None}
    assert await asked(engine) == {}


async def test_ten_minutes_and_all_services_are_the_default(log_level: LogLevelCommand) -> None:
    said = json.loads((await log_level("WARNING", "--json")).stdout)
    assert set(said) == {"api", "relay", "worker"}
    assert all(590 < one["seconds_left"] <= 600 and one["level"] == "WARNING" for one in said.values())


async def test_the_databases_clock_ends_it(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await ask_level(connection, list(Service), level="DEBUG", seconds=600)
        await connection.execute(text("UPDATE log_levels SET until = now() - interval '1 ms' WHERE service = 'api'"))
    async with transaction(engine) as connection:
        assert await asked_level(connection, Service.API) is None
        assert await asked_level(connection, Service.RELAY) is not None


async def test_what_is_no_level_can_not_be_stored(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError, match="log_levels_level_check"):
        async with transaction(engine) as connection:
            await connection.execute(
                text("INSERT INTO log_levels (service, level, until) VALUES ('api', 'LOUD', now())")
            )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("LOUD",), "'LOUD' is no log level: DEBUG, INFO, WARNING or ERROR"),
        (("DEBUG", "--service", "wroker"), "--service: 'wroker' is none of api, relay, worker"),
        (("DEBUG", "--for", "10 parsecs"), "--for: '10 parsecs' is no duration; give one as 30s, 10m or 2h"),
        (("DEBUG", "--for", "0s"), "--for: give 1s to 24h; what is to last belongs into THROUGHLINE_LOG_LEVEL"),
        (("DEBUG", "--for", "25h"), "--for: give 1s to 24h; what is to last belongs into THROUGHLINE_LOG_LEVEL"),
        (("DEBUG", "--reset"), "give a level or --reset, not both"),
    ],
)
async def test_a_mistake_is_one_line_and_changes_nothing(
    engine: AsyncEngine, log_level: LogLevelCommand, arguments: tuple[str, ...], said: str
) -> None:
    result = await log_level(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception) == said
    assert await asked(engine) == {}


async def test_a_database_that_is_not_migrated_yet_is_one_line(
    log_level: LogLevelCommand, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", empty_database_url)
    result = await log_level()
    assert isinstance(result.exception, ConfigurationError)
    assert 'relation "log_levels" does not exist' in str(result.exception)
    assert "\n" not in str(result.exception)
