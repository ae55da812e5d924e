import asyncio
from uuid import UUID

from observability.logs import get_logger
from observability.metrics import Metrics
from storage import leases, wake
from storage.engine import DatabaseUnavailable
from storage.leases import Cell, FreedRun
from storage.worker_processes import end_leases_of
from worker.database import Database
from worker.freed import tell_of_deaths
from worker.identity import Seat

_PAUSE = 0.5

_log = get_logger(__name__)


async def bury_predecessors(seat: Seat, *, database: Database, cell: Cell, metrics: Metrics) -> list[FreedRun]:
    """Free the runs of the processes that had this one's seat and died, without waiting for their leases to end.

    Celery fills a seat when it has seen the end of who had it. A child that ended in order has ended its lease, too:
    what is open is a death. Waits for PostgreSQL; who comes too late finds that the relay has done it.
    """
    if seat.prefix is None:
        return []
    ended, freed = None, None
    while freed is None:
        try:
            if ended is None:
                async with database.transaction() as connection:
                    ended = await end_leases_of(connection, prefix=seat.prefix, but=seat.name)
            freed = await _free(database, ended, cell) if ended else []
        except DatabaseUnavailable:
            await asyncio.sleep(_PAUSE)
    if ended:
        metrics.leases_expired.labels().inc(len(ended))
        tell_of_deaths(freed, metrics)
        _log.warning("a child died; its runs are queued again", worker=seat.name, runs=len(freed))
    return freed


async def _free(database: Database, ended: list[UUID], cell: Cell) -> list[FreedRun]:
    # A transaction of its own: only a snapshot after the first one's commit sees every claim made under those leases.
    async with database.transaction() as connection:
        freed = await leases.free_runs(connection, ended, died=True, cell=cell)
        if freed:
            await wake.notify(connection)
    return freed
