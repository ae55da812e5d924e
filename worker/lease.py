import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

from events import new_id
from observability.logs import get_logger
from storage import leases
from storage.engine import DatabaseUnavailable
from worker.database import Database

ResultT = TypeVar("ResultT")

_log = get_logger(__name__)
_RENEWALS = 3
_MARGIN = 0.1
_TOO_LATE = "it could not be renewed in time"


class LeaseKeeper:
    """Keeps a lease in the name of this process boot, and opens a new one whenever it was lost.

    A lease counts from the moment its last successful renewal was *asked for*, which is never later than when
    PostgreSQL counts it from. A tenth of it before it could end there it is given up here: ``on_lost`` is called in
    the loop and must stop what runs under it. A process that was stopped meanwhile, or whose loop was blocked, goes on
    with what was ready before it is told: whoever asks for ``lease_id`` has the clock looked at. As soon as PostgreSQL
    answers, ``hand_back`` gets the id, to return those runs, and a new lease is opened. ``on_refused`` is told of a
    renewal that came after the lease's end.
    """

    def __init__(  # noqa: PLR0913 - what it tells its owner
        self,
        database: Database,
        *,
        worker: str,
        seconds: float,
        cell: bool = False,
        on_lost: Callable[[], None],
        hand_back: Callable[[UUID], Awaitable[None]],
        on_refused: Callable[[], object],
    ) -> None:
        self._database = database
        self._worker = worker
        self._seconds = seconds
        self._cell = cell
        self._on_lost = on_lost
        self._hand_back = hand_back
        self._on_refused = on_refused
        self._lease_id: UUID | None = None
        self._held = asyncio.Event()
        self._lost = asyncio.Event()
        self._limit: asyncio.TimerHandle | None = None
        self._end = 0.0
        self._task: asyncio.Task[None] | None = None
        self._handing_back: UUID | None = None

    @property
    def lease_id(self) -> UUID | None:
        """The lease that is held now. To be asked in the loop: one whose time is over is given up here."""
        if self._lease_id is not None and time.monotonic() >= self._end:
            self._give_up(_TOO_LATE)
        return self._lease_id

    async def held(self) -> UUID:
        """Return the lease; wait for one while there is none."""
        while self._lease_id is None:
            await self._held.wait()
        return self._lease_id

    def start(self) -> None:
        """Begin to keep a lease, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep_forever(), name="lease")

    def close(self) -> UUID | None:
        """Renew no more; return the lease that is still held, or whose runs are not handed back yet, for the caller."""
        if self._task:
            self._task.cancel()
        return self._let_go() or self._handing_back

    async def _keep_forever(self) -> None:
        while True:
            try:
                lease_id = await self._open()
                await self._renew(lease_id)
                await self._until_answered(partial(self._hand_back, lease_id))
                self._handing_back = None
            except Exception:  # noqa: BLE001 - a process without a keeper would hold its runs for ever
                _log.exception("the lease keeper failed and starts again")
                self._give_up("the keeper failed")
                await asyncio.sleep(self._pause)

    @property
    def _pause(self) -> float:
        return min(1.0, self._seconds / 10)

    async def _open(self) -> UUID:
        async def attempt() -> tuple[UUID, float]:
            lease_id, asked = new_id(), asyncio.get_running_loop().time()
            async with self._database.transaction(within=self._seconds / _RENEWALS) as connection:
                await leases.open_lease(
                    connection, lease_id=lease_id, worker=self._worker, seconds=self._seconds, cell=self._cell
                )
            return lease_id, asked

        lease_id, asked = await self._until_answered(attempt)
        self._lease_id = lease_id
        self._lost.clear()
        self._count_from(asked)
        self._held.set()
        _log.info("lease opened", lease_id=str(lease_id), worker=self._worker)
        return lease_id

    async def _renew(self, lease_id: UUID) -> None:
        """Renew until the lease is lost."""
        wait = self._seconds / _RENEWALS
        while not await self._lost_within(wait):
            asked = asyncio.get_running_loop().time()
            try:
                async with self._database.transaction(within=self._seconds / _RENEWALS) as connection:
                    kept = await leases.renew_lease(connection, lease_id=lease_id, seconds=self._seconds)
            except DatabaseUnavailable as error:
                _log.warning("lease not renewed", error=str(error))
                wait = self._pause
                continue
            if not kept:
                self._on_refused()
                self._give_up("it was ended by a rescuer")
            elif self._lease_id is not None:
                self._count_from(asked)
            wait = max(0.0, self._seconds / _RENEWALS - (asyncio.get_running_loop().time() - asked))

    async def _lost_within(self, seconds: float) -> bool:
        if not self._lost.is_set():
            await asyncio.wait({waiter := asyncio.ensure_future(self._lost.wait())}, timeout=seconds)
            waiter.cancel()
        return self._lost.is_set()

    async def _until_answered(self, attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
        while True:
            try:
                return await attempt()
            except DatabaseUnavailable:
                await asyncio.sleep(self._pause)

    def _count_from(self, asked: float) -> None:
        if self._limit:
            self._limit.cancel()
        self._end = asked + self._seconds * (1 - _MARGIN)
        self._limit = asyncio.get_running_loop().call_at(self._end, self._give_up, _TOO_LATE)

    def _give_up(self, reason: str) -> None:
        lease_id = self._let_go()
        if lease_id is not None:
            self._handing_back = lease_id
            _log.error("lease lost; its runs are cancelled here", lease_id=str(lease_id), reason=reason)
            self._on_lost()

    def _let_go(self) -> UUID | None:
        if self._limit:
            self._limit.cancel()
        lease_id, self._lease_id = self._lease_id, None
        self._held.clear()
        self._lost.set()
        return lease_id
