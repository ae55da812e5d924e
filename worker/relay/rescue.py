import time
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from observability.logs import get_logger
from observability.metrics import Metrics
from observability.tracing import trace_id_of
from storage import due, leases
from storage.engine import DatabaseUnavailable
from storage.leases import Cell, EndedLease, FreedRun
from worker.freed import tell_of_deaths
from worker.lost_spans import LostSpans
from worker.relay.database import Database

_SWEEP_SECONDS: Final = 5.0
_HAND_BACK_SECONDS: Final = 10.0
_MOST_TRACE_IDS: Final = 50

_log = get_logger(__name__)


class OutageGate:
    """Holds rescue for one lease after PostgreSQL was away: nobody could renew, and nobody has died of that.

    An outage shorter than a third of a lease costs no worker more than one renewal. ``interval`` is how often rescue
    asks: that much silence is no outage. What was before the gate was made it doesn't know, so it begins by holding.
    """

    def __init__(self, lease: float, *, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._longest_silence = interval + lease / 3
        self._clock = clock
        self._answered = clock()
        self._held_until = self._answered + lease

    def answered(self, *, uptime: float) -> bool:
        """Note that PostgreSQL answered, being up for ``uptime`` seconds; say whether rescue may go on."""
        now = self._clock()
        if now - self._answered > self._longest_silence:
            self._held_until = now + self._lease
        self._held_until = max(self._held_until, now + self._lease - uptime)
        self._answered = now
        return now >= self._held_until

    def refused(self) -> None:
        """Note that PostgreSQL, though it answered, took no write: then it took no renewals either."""
        self._held_until = self._clock() + self._lease


class Rescue:
    """Makes the runs of worker processes that are gone due again."""

    def __init__(
        self, *, database: Database, lease: float, cell: Cell, interval: float, metrics: Metrics, spans: LostSpans
    ) -> None:
        self._database = database
        self._spans = spans
        self._cell = cell
        self._metrics = metrics
        self._gate = OutageGate(lease, interval=interval)
        self._swept = 0.0

    async def run_once(self) -> int:
        """End the leases that were not renewed; return how many runs are to be published for it.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        async with self._database.reading() as connection:
            uptime = await leases.server_uptime(connection)
        if not self._gate.answered(uptime=uptime):
            return 0
        try:
            async with self._database.transaction() as connection:
                ended = await leases.end_expired_leases(connection)
        except DatabaseUnavailable:
            self._gate.refused()
            raise
        freed = await self._recover(ended) if ended else 0
        return freed + await self._sweep()

    async def _recover(self, ended: Sequence[EndedLease]) -> int:
        self._metrics.leases_expired.labels().inc(len(ended))
        # A transaction of its own: only a snapshot after that commit sees every claim made under those leases.
        freed = await self._free([lease.lease_id for lease in ended])
        for lease in ended:
            self._tell(lease.worker, [run for run in freed if run.lease_id == lease.lease_id])
        # What the dead had fetched and not claimed is neither theirs by the tables nor in Redis any more.
        async with self._database.transaction() as connection:
            unclaimed = await due.hurry_published(connection, before=max(lease.dead_by for lease in ended))
        return len(freed) + unclaimed

    async def _sweep(self) -> int:
        """Free what a rescuer that died, or a row that was locked at the time, has left behind."""
        now = time.monotonic()
        if self._swept and now - self._swept < _SWEEP_SECONDS:
            return 0
        self._swept = now
        async with self._database.reading() as connection:
            orphaned = await leases.orphaned_leases(connection, grace=_HAND_BACK_SECONDS)
        freed = await self._free(orphaned) if orphaned else []
        if freed:
            self._tell(None, freed)
        return len(freed)

    async def _free(self, lease_ids: Sequence[UUID]) -> list[FreedRun]:
        async with self._database.transaction() as connection:
            freed = await leases.free_runs(connection, lease_ids, died=True, cell=self._cell)
        tell_of_deaths(freed, self._metrics)
        self._spans.note(lease_ids, freed)
        return freed

    def _tell(self, worker: str | None, freed: list[FreedRun]) -> None:
        traces = [found for run in freed[:_MOST_TRACE_IDS] if (found := trace_id_of(run.traceparent))]
        what = "a worker's lease ended" if worker else "runs of an ended lease were left behind"
        _log.warning(f"{what}; its runs are queued again", worker=worker, runs=len(freed), trace_ids=traces)
