import asyncio
from uuid import UUID

from observability.logs import get_logger
from observability.metrics import Metrics
from storage import leases, wake
from storage.deaths import UNSEEN, explain_deaths
from storage.engine import DatabaseUnavailable
from storage.leases import Cell, FreedRun
from storage.worker_processes import end_leases_of
from worker.database import Database
from worker.freed import tell_of_deaths
from worker.identity import Seat
from worker.lost_spans import LostSpans

_PAUSE = 0.5

_log = get_logger(__name__)


async def bury_predecessors(
    seat: Seat, *, database: Database, cell: Cell, metrics: Metrics, spans: LostSpans
) -> list[FreedRun]:
    """Free the runs of the processes that had this one's seat and died, without waiting for their leases to end.

    Celery fills a seat when it has seen the end of who had it. A child that ended in order has ended its lease, too:
    what is open is a death. Waits for PostgreSQL; who comes too late finds that the relay has done it, and tells how
    the cell's child died that the relay has only missed. ``spans`` gets to know whose are to be made again.
    """
    if seat.prefix is None:
        return []
    ended: dict[UUID, str] | None = None
    freed: list[FreedRun] | None = None
    while freed is None:
        try:
            if ended is None:
                async with database.transaction() as connection:
                    ended = await end_leases_of(connection, prefix=seat.prefix, but=seat.name)
            freed = await _free(database, ended, seat, cell) if ended or seat.deaths else []
        except DatabaseUnavailable:
            await asyncio.sleep(_PAUSE)
    if ended:
        metrics.leases_expired.labels().inc(len(ended))
        tell_of_deaths(freed, metrics)
        spans.note(ended, freed)
        how = sorted({seat.deaths.get(worker, UNSEEN).how for worker in ended.values()})
        _log.warning("a child died; its runs are queued again", worker=seat.name, runs=len(freed), how=how)
    return freed


async def _free(database: Database, ended: dict[UUID, str], seat: Seat, cell: Cell) -> list[FreedRun]:
    # A transaction of its own: only a snapshot after the first one's commit sees every claim made under those leases.
    freed = []
    async with database.transaction() as connection:
        for lease_id, worker in ended.items():
            death = seat.deaths.get(worker, UNSEEN)
            freed += await leases.free_runs(connection, [lease_id], died=True, death=death, cell=cell)
        await explain_deaths(connection, seat.deaths, cell_queue=cell.queue)
        if freed:
            await wake.notify(connection)
    return freed
