import asyncio
from typing import Final

from observability.logs import get_logger
from storage.cancels import requested_cancels
from storage.engine import DatabaseUnavailable
from worker.database import Database
from worker.held import HeldRuns
from worker.lease import LeaseKeeper

_INTERVAL: Final = 0.5
_NO_REASON: Final = "somebody asked for it"

_log = get_logger(__name__)


class Cancelling:
    """Brings requests to cancel to the runs under way: one look a process twice a second, however many they are."""

    def __init__(self, database: Database, keeper: LeaseKeeper, held: HeldRuns) -> None:
        self._database = database
        self._keeper = keeper
        self._held = held

    async def watch(self) -> None:
        """Look until cancelled. What comes too early for a run, or not at all, comes with the next look."""
        while True:
            await asyncio.sleep(_INTERVAL)
            try:
                await self._look()
            except DatabaseUnavailable:
                continue
            except Exception:  # noqa: BLE001 - without it no run of this process could be cancelled
                _log.exception("looking for cancels went wrong; it is tried again")

    async def _look(self) -> None:
        lease_id = self._keeper.lease_id
        if lease_id is None or not self._held.tasks:
            return
        async with self._database.transaction() as connection:
            requested = await requested_cancels(connection, lease_id)
        for cancel in requested:
            self._held.request_cancel((cancel.run_id, cancel.attempt), cancel.reason or _NO_REASON)
