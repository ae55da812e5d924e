import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from celery.platforms import EX_OK

from observability.logs import get_logger
from observability.tracing import flush_spans
from settings import Settings
from storage import leases, wake
from storage.engine import DatabaseUnavailable
from storage.worker_processes import end_leases_of
from worker.database import Database
from worker.lost_spans import LostSpans

_log = get_logger(__name__)

_STEP_SECONDS: Final = 1.0


class Backstop:
    """Gets a worker out in time when its orderly stop can't: a node blocks the loop, a child computes without end.

    ``limit`` seconds after the grace the leases of all the worker's processes are ended, by their common ``prefix``,
    and their runs made due; then the process ends, having made the spans of what was cut off in it. It holds no lock
    and no connection that a fork could copy.
    """

    def __init__(self, settings: Settings, *, prefix: str, limit: float, kill: Callable[[], None]) -> None:
        self._settings = settings
        self._prefix = prefix
        self._limit = limit
        self._kill = kill
        self._begun = threading.Event()
        self._hurry = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stop-backstop", daemon=True)

    def start(self) -> None:
        """Be ready."""
        self._thread.start()

    def begin(self, *, hurry: bool) -> None:
        """Begin to count. For signal handlers."""
        if hurry:
            self._hurry.set()
        self._begun.set()

    def finish(self, *, give_back: bool) -> None:
        """The orderly stop has come to its end; ``give_back`` what processes may have left that died on the way."""
        self._over.set()
        if give_back:
            self._give_back()

    def _run(self) -> None:
        self._begun.wait()
        self._hurry.wait(self._settings.worker.stop_grace)
        if self._over.wait(self._limit):
            return
        _log.warning("the stop takes too long: what still runs is cut off and given back")
        try:
            self._kill()
            self._give_back()
            flush_spans(_STEP_SECONDS)
        except Exception:  # noqa: BLE001 - whatever it is, the process must get out
            _log.exception("the stop was cut off, and not all was cleared up; leases end by themselves")
        finally:
            os._exit(EX_OK)

    def _give_back(self) -> None:
        try:
            asyncio.run(self._end_leases())
        except DatabaseUnavailable as error:
            _log.warning("leases were not ended; they end by themselves", error=str(error))

    async def _end_leases(self) -> None:
        database = Database(self._settings.database, application="worker-stop", pool_size=1)
        spans = LostSpans(partial(database.statement, within=_STEP_SECONDS), reach=0.0)
        try:
            async with database.transaction(within=_STEP_SECONDS) as connection:
                ended = await end_leases_of(connection, prefix=self._prefix)
            async with database.transaction(within=_STEP_SECONDS) as connection:
                freed = await leases.free_runs(connection, list(ended), died=False) if ended else []
                if freed:
                    await wake.notify(connection)
            spans.note((), freed)
            await spans.make()
        finally:
            await database.close()
        if freed:
            _log.info("runs given back", runs=len(freed))
