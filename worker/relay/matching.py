import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from observability.logs import get_logger
from observability.metrics import Metrics, WaitEnd
from storage import matching
from storage.awaited import Kind, store_missing_keys
from storage.matching import Looked
from worker.relay.database import Database

_MOST: Final = 500
_GATHER: Final = 0.03
_ANOTHERS_TURN: Final = 0.2
_MISSING_SECONDS: Final = 10.0

_log = get_logger(__name__)


class Matching:
    """Brings together the waits of runs and the events they are for, a pass at a time.

    Events that have no keys yet, of an API of another release, are given them when somebody begins to wait for one.
    """

    def __init__(self, *, database: Database, metrics: Metrics, most: int = _MOST) -> None:
        self._database = database
        self._metrics = metrics
        self._most = most
        self._filled: dict[Kind, tuple[datetime, float]] = {}
        self.ended = 0

    async def run_once(self, *, interval: float) -> float:
        """Do one pass; return in how many seconds the next is worth while, ``interval`` at most.

        ``ended`` is then how many waits it has ended, so as many runs are due.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        self.ended = 0
        async with self._database.reading() as connection:
            is_anything_new = await matching.is_anything_new(connection)
        if not is_anything_new:
            await asyncio.sleep(_GATHER)
            return interval
        looked = await self._look()
        if looked is None:
            return _ANOTHERS_TURN
        self._tell(looked)
        return 0.0 if looked.more else interval

    async def _look(self) -> Looked | None:
        """Look once; None while another relay does."""
        async with self._database.transaction() as connection:
            if not await matching.take_turn(connection):
                return None
            missing = self._unfilled(await matching.new_kinds(connection, most=self._most))
            if missing:
                await store_missing_keys(connection, missing)
            looked = await matching.match(connection, most=self._most)
        now = time.monotonic()
        self._filled.update({kind: (since, now) for kind, since in missing})
        return looked

    def _unfilled(self, kinds: Sequence[tuple[Kind, datetime]]) -> list[tuple[Kind, datetime]]:
        """Return those not looked through as far back lately: the last look, when a wait is over, finds the rest."""
        oldest = time.monotonic() - _MISSING_SECONDS
        self._filled = {kind: filled for kind, filled in self._filled.items() if filled[1] > oldest}
        return [(kind, since) for kind, since in kinds if kind not in self._filled or self._filled[kind][0] > since]

    def _tell(self, looked: Looked) -> None:
        self.ended = len(looked.matches)
        for match in looked.matches:
            self._metrics.wait_match.labels().observe(match.delay)
        if looked.matches:
            self._metrics.waits_ended.labels(by=WaitEnd.EVENT).inc(len(looked.matches))
            _log.debug("waits ended", runs=[str(match.run_id) for match in looked.matches])
