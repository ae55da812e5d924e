import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from celery import Celery

from observability.level_watch import AskedLevel, LevelWatch, Service
from observability.logs import get_logger, limit_rate
from observability.metrics import Metrics, null_metrics
from observability.tracing import export_delay
from settings import Settings
from storage.engine import is_unavailable
from storage.leases import Cell
from storage.log_levels import asked_level
from storage.wake import WakeListener
from worker.lost_spans import LostSpans
from worker.relay.accounting import Accounting
from worker.relay.admission import Admission
from worker.relay.backoff import Backoff
from worker.relay.carried import connect
from worker.relay.database import Database
from worker.relay.expiry import Expiry
from worker.relay.gauges import Gauges
from worker.relay.matching import Matching
from worker.relay.postgres_gauges import PostgresGauges
from worker.relay.publisher import Publisher
from worker.relay.publishing import Publishing
from worker.relay.redis_gauges import RedisGauges
from worker.relay.rescue import Rescue
from worker.relay.retention import Retention

_WOKEN: Final = ("publish", "admit", "match")
"""The parts that a notification wakes."""
_LISTEN_SECONDS: Final = 2.0
_KEEP_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 1.0
_LOOK_WITHIN: Final = 2.0

_log = get_logger(__name__)
limit_rate(__name__)


class Relay:
    """Publishes what is due and recovers what was left behind. Any number may run side by side.

    Its parts run apart, so that none waits for another: publishing may wait for Redis, rescue never does.
    """

    def __init__(self, settings: Settings, *, app: Celery, metrics: Metrics | None = None) -> None:
        self._settings = settings
        metrics = metrics or null_metrics()
        self._database = Database(settings.database)
        self._publisher = Publisher(app, metrics=metrics)
        self._redis = connect(settings.redis)
        self._publishing = Publishing(
            settings.relay,
            database=self._database,
            publisher=self._publisher,
            redis=self._redis,
            metrics=metrics,
            singly=settings.worker.cell_queue,
        )
        interval = settings.relay.poll_interval
        self._admission = Admission(database=self._database, metrics=metrics, idle=interval)
        self._expiry = Expiry(database=self._database, metrics=metrics, interval=interval)
        self._spans = LostSpans(self._database.reading, reach=export_delay(settings.telemetry))
        self._rescue = Rescue(
            database=self._database,
            lease=settings.worker.lease,
            cell=Cell.of(settings.worker),
            interval=settings.relay.poll_interval,
            metrics=metrics,
            spans=self._spans,
        )
        self._matching = Matching(database=self._database, metrics=metrics)
        self._gauges = Gauges(database=self._database, metrics=metrics)
        self._postgres_gauges = PostgresGauges(database=self._database, metrics=metrics)
        self._redis_gauges = RedisGauges(self._redis, queues=self._known_queues, metrics=metrics)
        self._accounting = Accounting(database=self._database, metrics=metrics)
        self._retention = Retention(settings.retention, database=self._database)
        self._levels = LevelWatch(settings.log.level, read=self._asked_level)
        self._wakes = {name: asyncio.Event() for name in _WOKEN}
        self._stop = asyncio.Event()
        self._listener = WakeListener(settings.database, application="relay-listen", on_wake=self._wake)

    def stop(self) -> None:
        """Let ``run`` return within some two seconds. Not to be called from another thread."""
        self._stop.set()
        self._wake()

    def _wake(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    async def run(self) -> None:
        """Work until ``stop``. PostgreSQL and Redis may come and go; neither ends it."""
        steps: dict[str, Callable[[], Awaitable[float]]] = {
            "publish": self._publishing.run_once,
            "admit": self._admit_step,
            "expire": self._expiry.run_once,
            "match": self._match_step,
            "rescue": self._rescue_step,
            "make spans": self._spans_step,
            "keep": self._keep_step,
            "listen": self._listen_step,
            "measure": self._gauges.run_once,
            "measure PostgreSQL": self._postgres_gauges.run_once,
            "measure Redis": self._redis_gauges.run_once,
            "account": self._accounting.run_once,
            "remove": self._retention.run_once,
            "log level": self._levels.run_once,
        }
        tasks = [asyncio.create_task(self._repeat(name, step), name=f"relay-{name}") for name, step in steps.items()]
        try:
            await self._stop.wait()
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _repeat(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        backoff = Backoff(first=0.2, longest=2.0)
        woken = self._wakes.get(name)
        while not self._stop.is_set():
            if woken is not None:
                woken.clear()
            try:
                wait = await step()
            except Exception as error:  # noqa: BLE001 - a part that dies would be missed by nobody until it is too late
                self._failed(name, error)
                wait = backoff.failed()
            else:
                if lasted := backoff.succeeded():
                    _log.info("a part of the relay works again", part=name, seconds=round(lasted, 1))
            await self._pause(wait, self._stop if woken is None or backoff.failing else woken)

    async def _admit_step(self) -> float:
        published, wait = await self._admission.run_once()
        if published:
            self._wakes["publish"].set()
        return wait

    @staticmethod
    def _failed(name: str, error: Exception) -> None:
        if is_unavailable(error) or is_unavailable(error.__cause__ or error):
            _log.warning("PostgreSQL is unavailable; the relay goes on trying", part=name, error=str(error))
        else:
            _log.error("a part of the relay failed; it is tried again", part=name, exc_info=error)

    @staticmethod
    async def _pause(seconds: float, until: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()

    def _known_queues(self) -> set[str]:
        worker = self._settings.worker
        return {*worker.queues, worker.cell_queue, *self._gauges.queues}

    async def _rescue_step(self) -> float:
        if await self._rescue.run_once():
            self._wakes["publish"].set()
        return self._settings.relay.poll_interval

    async def _match_step(self) -> float:
        wait = await self._matching.run_once(interval=self._settings.relay.poll_interval)
        if self._matching.ended:
            self._wake()
        return wait

    async def _spans_step(self) -> float:
        await self._spans.make()
        return self._settings.relay.poll_interval

    async def _keep_step(self) -> float:
        await self._publishing.keep_sent()
        return _KEEP_SECONDS

    async def _listen_step(self) -> float:
        await self._listener.ensure()
        return _LISTEN_SECONDS

    async def _asked_level(self) -> AskedLevel | None:
        async with self._database.glance(within=_LOOK_WITHIN) as connection:
            return await asked_level(connection, Service.RELAY)

    async def _close(self) -> None:
        self._publisher.close()
        with suppress(Exception):  # as much as there is time for
            async with asyncio.timeout(_STOP_SECONDS / 2):
                await self._spans.make()
        with suppress(Exception):  # what can't be told now costs a message sent twice
            async with asyncio.timeout(_STOP_SECONDS / 2):
                await self._publishing.keep_sent(everything=True)
        with suppress(Exception):  # it is being left
            async with asyncio.timeout(_STOP_SECONDS / 2):
                await self._listener.close()
                await self._redis.aclose()
                await self._database.close()
