import asyncio
import contextvars
import threading
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from observability.logs import get_logger
from observability.metrics import Metrics, SlotState
from observability.tracing import export_delay
from pipelines import PipelineRegistry
from settings import Settings, WorkerSettings
from storage.deaths import Death
from storage.engine import DatabaseUnavailable
from storage.leases import Cell
from worker.cancelling import Cancelling
from worker.claiming import Claims
from worker.database import Database
from worker.execution import Execution
from worker.giving_back import GivingBack
from worker.held import HeldRuns
from worker.identity import Seat
from worker.lease import LeaseKeeper
from worker.log_level import Heard, follow_level
from worker.loop import LoopThread
from worker.lost_spans import LostSpans
from worker.message import Message
from worker.predecessor import bury_predecessors
from worker.processing import Processing
from worker.slots import Slots
from worker.watchdog import Watchdog
from worker.writes import Writes

_CANCEL_SECONDS: Final = 0.5
_START_SECONDS: Final = 10.0
_NOTICE: Final = 0.25
_OWN_DOING: Final = 0.5
"""The share of a lease that a blocked loop must have cost to be why it was lost: renewals leave more than that."""
_MOST_THREADS: Final = 64

_log = get_logger(__name__)


class WorkerRuntime:
    """All that one worker process has for its runs: an event loop, connections, a lease, slots.

    Made in the process that uses it, after any fork. The methods without a loop of their own are for Celery's threads.
    ``level_heard``: see ``follow_level``.
    """

    def __init__(
        self,
        settings: Settings,
        registry: PipelineRegistry,
        *,
        seat: Seat,
        metrics: Metrics,
        level_heard: Heard | None = None,
    ) -> None:
        self._settings = settings.worker
        self._database_settings = settings.database
        self._span_reach = export_delay(settings.telemetry)
        self._registry = registry
        self._seat = seat
        self._metrics = metrics
        self._level = settings.log.level
        self._level_heard = level_heard
        self._blocked_limit = _blocked_limit(settings.worker)
        self._loop = LoopThread(threads=min(settings.worker.slots, _MOST_THREADS), blocked_limit=self._blocked_limit)
        self._stopping: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._stopped = threading.Event()
        self._messages: set[asyncio.Task[Any]] = set()
        self._death: Death | None = None

    def start(self) -> None:
        """Start the loop and what lives in it; waits for no database."""
        self._loop.start()
        self._loop.wait(self._open(), timeout=_START_SECONDS)

    def process(self, message: Message) -> dict[str, Any]:
        """Process a message; returns when it may be acknowledged. See ``Processing.process``.

        Raises:
            concurrent.futures.CancelledError: the process has stopped meanwhile; the runs were given back.

        """
        return asdict(self._loop.wait(self._process(message)))

    def begin_stop(self, *, hurry: bool = False) -> None:
        """Begin to stop; ``hurry`` gives runs under way no more time. For signal handlers: it only tells the loop."""
        self._loop.loop.call_soon_threadsafe(self._begin_stop, hurry, context=contextvars.Context())

    def wait_stopped(self, timeout: float) -> bool:
        """Wait until every run has ended or was given back; False if that took longer."""
        return self._stopped.wait(timeout)

    def close(self) -> bool:
        """End the loop; False if a node goes on. Call it last: messages let go of their runs after the stop, too."""
        try:
            self._loop.wait(self._close(), timeout=2.0)
        except Exception as error:  # noqa: BLE001 - the process ends: it is told and that is all
            _log.warning("the worker's connections were not closed in order", error=type(error).__name__)
        return self._loop.stop()

    async def _open(self) -> None:
        worker = self._settings
        self._hurry = asyncio.Event()
        self._database = Database(self._database_settings, application="worker")
        self._lease_database = Database(self._database_settings, application="worker-lease", pool_size=1)
        self._held = HeldRuns()
        self._giving_back = GivingBack(self._lease_database, self._metrics, cell=Cell.of(worker))
        self._stray_runs = GivingBack(self._database, self._metrics)
        self._keeper = LeaseKeeper(
            self._lease_database,
            worker=self._seat.name,
            seconds=worker.lease,
            cell=worker.cell,
            on_lost=self._on_lost,
            hand_back=self._hand_back,
            on_refused=self._metrics.stale_writes.labels().inc,
        )
        self._writes = Writes(self._database)
        self._claims = Claims(self._database, self._keeper, self._held, metrics=self._metrics)
        self._processing = Processing(
            self._registry,
            self._claims,
            self._writes,
            execution=Execution(self._writes, self._metrics, registry=self._registry),
            slots=self._slots(),
            held=self._held,
            acknowledge_after=worker.acknowledge_after,
        )
        self._loop.arm()
        self._watchdog = Watchdog(
            after=self._blocked_limit * _NOTICE,
            limit=self._blocked_limit,
            lasting=worker.lease * _OWN_DOING,
            metrics=self._metrics,
        )
        self._watchdog.start()
        self._writes.start()
        self._claims.start()
        self._keeper.start()
        self._strays = asyncio.get_running_loop().create_task(self._find_strays(), name="strays")
        cancelling = Cancelling(self._database, self._keeper, self._held)
        self._cancels = asyncio.get_running_loop().create_task(cancelling.watch(), name="cancels")
        self._burying = asyncio.get_running_loop().create_task(self._bury(), name="predecessors")
        levels = follow_level(self._database, setting=self._level, heard=self._level_heard)
        self._levels = asyncio.get_running_loop().create_task(levels, name="log-level")

    def _on_lost(self) -> None:
        """Stop what runs under the lease; see whether it was lost because a node kept the loop from renewing it."""
        lease = self._settings.lease
        blocked = self._watchdog.blocked_lately(within=lease)
        how = f"lost its lease while a node blocked its event loop for {blocked:.1f} s"
        self._death = Death(how=how, own=True) if blocked else None
        self._held.cancel()

    async def _hand_back(self, lease_id: UUID) -> None:
        await self._giving_back.lease(lease_id, death=self._death)

    async def _bury(self) -> None:
        cell = Cell.of(self._settings)
        try:
            database, spans = self._database, LostSpans(self._database.statement, reach=self._span_reach)
            await bury_predecessors(self._seat, database=database, cell=cell, metrics=self._metrics, spans=spans)
            await spans.make()
        except Exception:  # noqa: BLE001 - what it leaves ends with its lease
            _log.exception("what a dead child left was not all cleared up; its lease ends by itself")

    def _slots(self) -> Slots:
        queue = ",".join(self._settings.queues)
        used = self._metrics.worker_slots.labels(queue=queue, state=SlotState.USED)
        self._metrics.worker_slots.labels(queue=queue, state=SlotState.TOTAL).set(self._settings.slots)
        used.set(0)
        return Slots(self._settings.slots, on_change=used.set)

    async def _process(self, message: Message) -> Any:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - tells the type checker that a coroutine runs in a task
        self._messages.add(task)
        try:
            return await self._processing.process(message)
        finally:
            self._messages.discard(task)

    def _begin_stop(self, hurry: bool) -> None:
        if hurry:
            self._hurry.set()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="stop")

    async def _stop(self) -> None:
        _log.info("stopping", runs=len(self._held.tasks), grace=self._settings.stop_grace)
        try:
            self._processing.close()
            await self._let_runs_end()
            self._strays.cancel()
            self._cancels.cancel()
            self._burying.cancel()
            await self._let_claims_end()
            await self._give_back()
        except Exception:  # noqa: BLE001 - whatever it is, the process must get out
            _log.exception("the stop went wrong; the lease answers for the runs")
        finally:
            for task in self._messages:
                task.cancel()
            self._stopped.set()
            _log.info("stopped")

    async def _let_runs_end(self) -> None:
        hurry = asyncio.ensure_future(self._hurry.wait())
        ended = asyncio.ensure_future(_all_ended(self._held))
        await asyncio.wait({hurry, ended}, timeout=self._settings.stop_grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        ended.cancel()

    async def _let_claims_end(self) -> None:
        """Wait for a claim's answer: what nobody here waits for any more is claimed all the same, and given back."""
        await asyncio.wait({asyncio.ensure_future(self._claims.close())}, timeout=_CANCEL_SECONDS)

    async def _give_back(self) -> None:
        nodes = self._held.pending
        self._held.cancel()
        if tasks := self._held.tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
        lease_id = self._keeper.close()
        if lease_id is None:
            return
        try:
            await self._giving_back.lease(lease_id, nodes=nodes, within=1.0)
        except DatabaseUnavailable as error:
            _log.warning("the lease was not ended; it ends by itself", error=str(error))

    async def _find_strays(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease)
            lease_id = self._keeper.lease_id
            if lease_id is None:
                continue
            try:
                await self._stray_runs.strays(lease_id, self._held)
            except DatabaseUnavailable:
                continue
            except Exception:  # noqa: BLE001 - the search is what nothing else guarantees
                _log.exception("looking for stray runs went wrong; it is tried again")

    async def _close(self) -> None:
        self._watchdog.stop()
        self._levels.cancel()
        self._keeper.close()
        await self._claims.close()
        await self._writes.close()
        await self._database.close()
        await self._lease_database.close()


def _blocked_limit(worker: WorkerSettings) -> float:
    """Return how long the loop may be blocked: in the cell no longer than the lease, since its one run is lost then."""
    return min(worker.blocked_limit, worker.lease) if worker.cell else worker.blocked_limit


async def _all_ended(held: HeldRuns) -> None:
    while tasks := held.tasks:
        await asyncio.wait(tasks)
