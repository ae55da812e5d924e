from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from events import AttemptOutcome, QueueReason, RunStatus
from observability.logs import get_logger
from observability.metrics import Metrics, RunOutcome
from storage import leases, wake
from storage.deaths import UNSEEN, Death
from storage.engine import refused_state
from storage.leases import Cell
from storage.outcomes import Finish, NodeWrite, finish_runs, write_nodes
from storage.worker_processes import held_runs
from worker.database import Database
from worker.freed import tell_of_deaths
from worker.held import HeldRuns

_log = get_logger(__name__)


class GivingBack:
    """Returns runs that this process holds and will not finish, so that others take them up at once."""

    def __init__(self, database: Database, metrics: Metrics, *, cell: Cell | None = None) -> None:
        self._database = database
        self._metrics = metrics
        self._cell = cell

    async def lease(
        self, lease_id: UUID, *, nodes: Sequence[NodeWrite] = (), within: float = 2.0, death: Death | None = None
    ) -> None:
        """End a lease and queue its runs again, due at once; ``nodes`` are results they have already come to.

        ``death``: the lease was lost by what a run did, which counts against the runs as if the process had died of it.

        Raises:
            DatabaseUnavailable: no answer within ``within`` seconds for each of the steps.

        """
        await self._keep(nodes, within)
        async with self._database.transaction(within=within) as connection:
            await leases.end_lease(connection, lease_id)
        await self._free(lease_id, within, death, wait=False)
        # A write of ours that was under way kept its runs from being freed just now.
        await self._free(lease_id, within, death, wait=True)

    async def strays(self, lease_id: UUID, held: HeldRuns) -> int:
        """Give back runs that PostgreSQL says are ours and that nothing here works on; return how many.

        A claim whose answer was lost leaves such runs, and so does an execution that broke.
        """
        async with self._database.transaction() as connection:
            found = await held_runs(connection, lease_id)
        strays = [run for run in found if not held.knows((run.run_id, run.attempt))]
        if not strays:
            return 0
        _log.warning("runs that nothing here works on are given back", runs=[str(run.run_id) for run in strays])
        finishes = [
            Finish(
                tenant=run.tenant,
                run_id=run.run_id,
                attempt=run.attempt,
                status=RunStatus.QUEUED,
                outcome=AttemptOutcome.HANDED_BACK,
                reason=QueueReason.HANDED_BACK,
            )
            for run in strays
        ]
        async with self._database.transaction() as connection:
            return len(await finish_runs(connection, finishes))

    async def _free(self, lease_id: UUID, within: float, death: Death | None, *, wait: bool) -> None:
        died = death is not None
        async with self._database.transaction(within=within) as connection:
            freed = await leases.free_runs(
                connection, [lease_id], died=died, death=death or UNSEEN, cell=self._cell, wait=wait
            )
        if died:
            tell_of_deaths(freed, self._metrics)
        else:
            self._count([run.pipeline for run in freed])
        if freed:
            _log.info("runs given back", runs=len(freed), lease_id=str(lease_id))
            async with self._database.transaction(within=within) as connection:
                await wake.notify(connection)

    async def _keep(self, nodes: Sequence[NodeWrite], within: float) -> None:
        if not nodes:
            return
        try:
            async with self._database.transaction(within=within) as connection:
                await write_nodes(connection, nodes)
        except Exception as error:
            if refused_state(error) is None:
                raise
            _log.warning("results of runs that are given back were refused; they are made again")

    def _count(self, pipelines: Sequence[str]) -> None:
        for pipeline, runs in Counter(pipelines).items():
            self._metrics.runs.labels(pipeline=pipeline, outcome=RunOutcome.HANDED_BACK).inc(runs)
