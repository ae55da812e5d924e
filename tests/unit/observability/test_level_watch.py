import asyncio
import io
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from observability import level_watch
from observability.level_watch import AskedLevel, LevelInForce, LevelWatch
from observability.logs import configure_logging, get_logger
from settings import LogLevel, LogSettings

UNTIL = datetime(2026, 5, 4, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def configured(stream: io.StringIO, level: LogLevel = "INFO") -> LogLevel:
    configure_logging(LogSettings(format="json", level=level), service="worker", stream=stream)
    return level


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def asked(level: LogLevel, *, left: float = 60.0, until: datetime = UNTIL) -> AskedLevel:
    return AskedLevel(level=level, until=until, left=left)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("setting", ["DEBUG", "INFO", "WARNING", "ERROR"])
@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_every_change_is_told_whatever_the_levels_are_and_until_when(
    stream: io.StringIO, setting: LogLevel, level: LogLevel
) -> None:
    in_force = LevelInForce(configured(stream, setting))
    in_force.apply(asked(level))
    assert logging.getLevelName(logging.getLogger().level) == level
    in_force.apply(asked(level))
    in_force.apply(None)
    assert logging.getLevelName(logging.getLogger().level) == setting
    changed, back = lines(stream)
    assert (changed["event"], changed["before"], changed["to"]) == ("log level changed", setting, level)
    assert changed["until"] == "2026-05-04T12:00:00+00:00"
    assert (back["event"], back["before"], back["to"]) == ("log level is the setting's again", level, setting)


def test_another_end_is_told_too(stream: io.StringIO) -> None:
    in_force = LevelInForce(configured(stream))
    in_force.apply(asked("DEBUG"))
    in_force.apply(asked("DEBUG", until=UNTIL + timedelta(hours=1)))
    assert [line["until"][11:13] for line in lines(stream)] == ["12", "13"]


async def test_a_level_ends_by_itself_also_while_nobody_can_be_asked(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(level_watch, "LOOK_SECONDS", 0.01)
    looks: list[AskedLevel | None] = []

    async def read() -> AskedLevel | None:
        if looks:
            raise ConnectionError("PostgreSQL is away")
        return asked("DEBUG", left=1.0)

    watch = LevelWatch(configured(stream), read=read, heard=looks.append)
    task = asyncio.create_task(watch.follow())
    await until(lambda: len(lines(stream)) == 2)
    get_logger("ours").debug("shown")
    await until(lambda: logging.getLogger().level == logging.INFO)
    get_logger("ours").debug("hidden")
    task.cancel()
    changed, away, shown, back = lines(stream)
    assert (changed["event"], changed["to"]) == ("log level changed", "DEBUG")
    assert away["event"] == "the log level can't be looked up; it is tried again"
    assert shown["event"] == "shown"
    assert (back["event"], back["to"]) == ("log level is the setting's again", "INFO")
    assert looks == [asked("DEBUG", left=1.0), None]


async def test_what_was_asked_is_followed_and_withdrawn(stream: io.StringIO) -> None:
    answers = iter([None, asked("DEBUG", left=600.0), asked("ERROR", left=600.0), None])

    async def read() -> AskedLevel | None:
        return next(answers)

    watch = LevelWatch(configured(stream), read=read)
    levels = []
    for _ in range(4):
        assert await watch.run_once() == level_watch.LOOK_SECONDS
        levels.append(logging.getLevelName(logging.getLogger().level))
    assert levels == ["INFO", "DEBUG", "ERROR", "INFO"]


async def test_an_end_that_was_put_off_is_the_one_that_counts(stream: io.StringIO) -> None:
    answers = iter([asked("DEBUG", left=0.05), asked("DEBUG", left=600.0, until=UNTIL + timedelta(minutes=10))])

    async def read() -> AskedLevel | None:
        return next(answers)

    watch = LevelWatch(configured(stream), read=read)
    await watch.run_once()
    await watch.run_once()
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, over.set)
    await over.wait()
    assert logging.getLogger().level == logging.DEBUG
