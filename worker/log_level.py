from collections.abc import Callable
from typing import Final, NoReturn

from observability.level_watch import AskedLevel, LevelWatch, Service
from settings import LogLevel
from storage.log_levels import asked_level
from worker.database import Database

Heard = Callable[[AskedLevel | None], None]

_LOOK_WITHIN: Final = 2.0


async def follow_level(database: Database, *, setting: LogLevel, heard: Heard | None) -> NoReturn:
    """Give this process the level that is asked of workers, until cancelled; for ``heard`` see ``LevelWatch``."""

    async def read() -> AskedLevel | None:
        async with database.statement(within=_LOOK_WITHIN) as connection:
            return await asked_level(connection, Service.WORKER)

    await LevelWatch(setting, read=read, heard=heard).follow()
