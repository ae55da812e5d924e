import time
from typing import Final

from observability.logs import get_logger
from settings import RetentionSettings
from storage import retention
from worker.relay.database import Database

_DAY: Final = 86_400.0
_SHARE: Final = 4.0
_MOST_LEASES: Final = 1000

_log = get_logger(__name__)


class Retention:
    """Removes events that ended well longer ago than the setting, a small batch at a time."""

    def __init__(self, settings: RetentionSettings, *, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._place = retention.START
        self._awaited = retention.START
        self._events = 0

    async def run_once(self) -> float:
        """Remove one batch; return in how many seconds to go on, so that removing takes a fifth of the time.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        if not self._settings.days:
            return self._settings.interval
        age = self._settings.days * _DAY
        began = time.monotonic()
        async with self._database.transaction() as connection:
            removed = await retention.remove_ended(connection, age=age, most=self._settings.batch, place=self._place)
        self._events += removed.events
        if removed.place is not None:
            self._place = removed.place
            return (time.monotonic() - began) * _SHARE
        async with self._database.transaction() as connection:
            removed = await retention.remove_awaited(
                connection, age=age, most=self._settings.batch, place=self._awaited
            )
        self._events += removed.events
        if removed.place is not None:
            self._awaited = removed.place
            return (time.monotonic() - began) * _SHARE
        async with self._database.transaction() as connection:
            leases = await retention.remove_leases(connection, age=age, most=_MOST_LEASES)
        if self._events or leases:
            _log.info("removed what ended long ago", events=self._events, leases=leases, days=self._settings.days)
        self._place, self._awaited, self._events = retention.START, retention.START, 0
        return self._settings.interval
