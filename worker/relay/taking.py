from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from observability.logs import get_logger
from settings import RelaySettings
from storage import due
from storage.records import DueRun
from worker.relay.carried import Carried
from worker.relay.chunking import room_in_window
from worker.relay.database import Database

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One queue's part of a pass. ``more``: something due was left; ``full``: because the window has no room for it."""

    taken: due.Taken | None = None
    runs: Sequence[DueRun] = ()
    sent_before: int = 0
    oldest: datetime | None = None
    more: bool = False
    full: bool = False


_NOT_OURS = Take(sent_before=-1)


class Taking:
    """Takes due runs in PostgreSQL, as many as the window in Redis has room for.

    A run that was sent, and that nobody claimed in time, is due again only when no message in Redis names it: what
    nobody comes for is not sent over and over, and what was lost on the way is.
    """

    def __init__(self, settings: RelaySettings, *, database: Database, carried: Carried) -> None:
        self._settings = settings
        self._database = database
        self._carried = carried

    async def take(self, queue: str, *, backlog: bool) -> Take:
        """Take from ``queue``; ``backlog``: the last pass left something due there.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
            RedisError: Redis is, and something is overdue. So does ``OSError``.

        """
        take = await self._try(queue, backlog=backlog, overdue_too=False)
        if take is None:
            await self._keep_carried(queue)
            take = await self._try(queue, backlog=backlog, overdue_too=True)
        return take or _NOT_OURS

    async def keep(self, taken: Sequence[due.Taken], *, seconds: float, overdue: bool = False) -> None:
        """Look at what was sent, or may have been, again in ``seconds``; see ``storage.due.keep_published``."""
        kept = [one for one in taken if one.keys]
        if kept:
            async with self._database.transaction() as connection:
                await due.keep_published(connection, kept, seconds=seconds, overdue=overdue)

    async def put_back(self, taken: due.Taken, *, seconds: float) -> None:
        """Take what was surely not sent again, in ``seconds``."""
        if taken.keys:
            async with self._database.transaction() as connection:
                await due.put_back(connection, [taken], seconds=seconds)

    async def _try(self, queue: str, *, backlog: bool, overdue_too: bool) -> Take | None:
        """Return None, having taken nothing, where runs are overdue and must be looked for first."""
        settings = self._settings
        async with self._database.transaction() as connection:
            if not await due.take_turn(connection, queue):
                return _NOT_OURS
            window = await due.window_of(connection, queue, most=settings.window)
            if window.overdue and not overdue_too:
                return None
            room = room_in_window(window.sent, window=settings.window, backlog=backlog)
            if not room:
                return Take(sent_before=window.sent, oldest=window.oldest, more=True, full=True)
            most = min(room, settings.take_max)
            taken, runs = await due.take_due(
                connection, queue, most=most, lease=settings.take_lease, urgent=window.urgent
            )
        more = len(runs) == most
        return Take(
            taken=taken,
            runs=runs,
            sent_before=window.sent,
            oldest=window.oldest,
            more=more,
            full=more and most == room,
        )

    async def _keep_carried(self, queue: str) -> None:
        async with self._database.reading() as connection:
            overdue = await due.overdue_runs(connection, queue, most=2 * self._settings.window)
        carried = await self._carried.run_ids(queue)
        await self.keep(
            [_part(taken, carried, inside=True) for taken in overdue],
            seconds=self._settings.republish_after,
            overdue=True,
        )
        gone = [_part(taken, carried, inside=False) for taken in overdue]
        for taken in gone:
            await self.put_back(taken, seconds=0.0)
        if runs := sum(len(taken.keys) for taken in gone):
            _log.warning("runs that were sent are claimed by nobody and sent again", queue=queue, runs=runs)


def _part(taken: due.Taken, run_ids: AbstractSet[UUID], *, inside: bool) -> due.Taken:
    return due.Taken(at=taken.at, keys=tuple(key for key in taken.keys if (key[1] in run_ids) is inside))
