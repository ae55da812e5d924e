import asyncio
import os
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from celery.platforms import EX_OK

from observability.logs import get_logger
from settings import Settings
from storage import leases, wake
from storage.engine import DatabaseUnavailable
from storage.worker_processes import end_leases_of
from worker.database import Database

_MARGIN: Final = 2.0

_log = get_logger(__name__)


class ChildrenStop:
    """How the parent of prefork children stops them.

    Each child stops as a worker process does: it is told by SIGTERM, which it handles. A child that is still busy when
    its time is over, because a node computes without end, is killed. Whatever leases the children leave are ended, so
    that their runs wait for nothing.
    """

    def __init__(self, worker: Any, settings: Settings, *, prefix: str) -> None:
        self._worker = worker
        self._settings = settings
        self._prefix = prefix
        self._told = threading.Event()
        self._hurry = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="children-stop", daemon=True)

    def start(self) -> None:
        """Be ready; no lock or connection is held that a later fork could copy."""
        self._thread.start()

    def begin(self, *, hurry: bool) -> None:
        """Tell the children to stop. For signal handlers."""
        if hurry:
            self._hurry.set()
        self._told.set()

    def finish(self) -> None:
        """Give back what children left, when Celery has ended them."""
        self._over.set()
        self._give_back()

    def _run(self) -> None:
        self._told.wait()
        self._send(signal.SIGTERM)
        if self._hurry.wait(self._settings.worker.stop_grace):
            self._send(signal.SIGTERM)
        if self._over.wait(_MARGIN):
            return
        _log.warning("children are still busy and are killed", children=list(self._children()))
        self._send(signal.SIGKILL)
        self._give_back()
        os._exit(EX_OK)

    def _children(self) -> Iterable[int]:
        pool = getattr(getattr(self._worker.pool, "_pool", None), "_pool", None) or ()
        return [child.pid for child in pool if child.pid]

    def _send(self, number: signal.Signals) -> None:
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def _give_back(self) -> None:
        try:
            asyncio.run(self._end_leases())
        except DatabaseUnavailable as error:
            _log.warning("the children's leases were not ended; they end by themselves", error=str(error))

    async def _end_leases(self) -> None:
        database = Database(self._settings.database, application="worker-stop", pool_size=1)
        try:
            async with database.transaction(within=1.0) as connection:
                ended = await end_leases_of(connection, prefix=self._prefix)
            async with database.transaction(within=1.0) as connection:
                freed = await leases.free_runs(connection, ended, died=False)
                if freed:
                    await wake.notify(connection)
        finally:
            await database.close()
        if freed:
            _log.info("runs given back", runs=len(freed))
