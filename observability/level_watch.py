"""The level of the log at run time: the setting's or, for a while, another one that somebody asked for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NoReturn

from observability.levels import set_level
from observability.logs import get_logger
from settings import LogLevel

LOOK_SECONDS: Final = 5.0
"""Seconds from one look for a level to the next."""

_log = get_logger(__name__)


class Service(StrEnum):
    """Whose log it is. The cell and a worker's children are workers."""

    API = "api"
    RELAY = "relay"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLevel:
    """A level that somebody asked for; it ends ``left`` seconds from now: at ``until``, by PostgreSQL's clock."""

    level: LogLevel
    until: datetime
    left: float


class LevelInForce:
    """The level of this process, and the line that tells of each change."""

    def __init__(self, setting: LogLevel) -> None:
        self._setting = setting
        self._level: LogLevel = setting
        self._until: datetime | None = None

    def apply(self, asked: AskedLevel | None) -> None:
        """Put in force what was asked for, or the setting where that is None."""
        level, until = (asked.level, asked.until) if asked else (self._setting, None)
        if (level, until) == (self._level, self._until):
            return
        before, self._level, self._until = self._level, level, until
        set_level(min(before, level, "WARNING", key=logging.getLevelNamesMapping().__getitem__))
        if until is None:
            _log.warning("log level is the setting's again", to=level, before=before)
        else:
            _log.warning("log level changed", to=level, before=before, until=until.isoformat(timespec="seconds"))
        set_level(level)


class LevelWatch:
    """Looks every few seconds for the level that this process is to have, and ends it when its time is over.

    ``read`` answers with what is asked for now. While it fails, what is in force stays until its end. ``heard`` is told
    what each look has found, and of that end.
    """

    def __init__(
        self,
        setting: LogLevel,
        *,
        read: Callable[[], Awaitable[AskedLevel | None]],
        heard: Callable[[AskedLevel | None], None] | None = None,
    ) -> None:
        self._in_force = LevelInForce(setting)
        self._read = read
        self._heard = heard
        self._end: asyncio.TimerHandle | None = None
        self._failing = False

    async def run_once(self) -> float:
        """Look; return in how many seconds to look again. Raises what ``read`` raises."""
        self._hear(await self._read())
        return LOOK_SECONDS

    async def follow(self) -> NoReturn:
        """Look until cancelled; a look that fails is told once, until one succeeds."""
        while True:
            try:
                await self.run_once()
                self._failing = False
            except Exception as error:  # noqa: BLE001 - the log goes on as it is
                if not self._failing:
                    _log.warning("the log level can't be looked up; it is tried again", error=str(error))
                self._failing = True
            await asyncio.sleep(LOOK_SECONDS)

    def _hear(self, asked: AskedLevel | None) -> None:
        if self._end:
            self._end.cancel()
            self._end = None
        if asked:
            self._end = asyncio.get_running_loop().call_later(asked.left, self._hear, None)
        self._in_force.apply(asked)
        if self._heard:
            self._heard(asked)
