"""What the endpoints work with: made with the app, started and closed with the process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

from fastapi import Request
from prometheus_client import CollectorRegistry

from api.accept import Acceptor
from api.group_commit import GroupCommit
from api.intake import Intake
from api.measuring import Requests
from api.notifier import Notifier
from api.presenting import Presenter
from observability.level_watch import AskedLevel, LevelWatch, Service
from observability.metrics import Metrics
from pipelines import PipelineRegistry
from settings import DatabaseSettings, Settings
from storage.bounded import Connection, bounded_transaction
from storage.driver_pool import DriverPool
from storage.engine import create_engine
from storage.ingest import store_events
from storage.log_levels import asked_level
from storage.records import NewEvent, StoredEvent
from storage.wake import NOTIFY


class Services:
    """One process's services.

    Ingestion, reading and waking have connections of their own: who lists slowly keeps nobody from sending events.
    """

    def __init__(
        self, settings: Settings, *, registry: PipelineRegistry, metrics: Metrics, collectors: CollectorRegistry
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.metrics = metrics
        self.collectors = collectors
        self.requests = Requests(metrics, settings.slo)
        self.presenter = Presenter(settings.api)
        self._timeout = settings.api.accept_timeout
        database = _impatient(settings.database, self._timeout)
        self._ingest = DriverPool(database, application="api-ingest")
        self._read = create_engine(database, application="api-read")
        self._looking = self._read.execution_options(isolation_level="AUTOCOMMIT")
        self._wake = DriverPool(database, application="api-wake")
        self.notifier = Notifier(self._notify)
        self.commits = GroupCommit(self._store, settings.api, metrics=metrics, on_created=self.notifier.wake)
        acceptor = Acceptor(registry, self.commits, metrics=metrics)
        self._levels = LevelWatch(settings.log.level, read=self._asked_level)
        self.intake = Intake(acceptor, self.commits, presenter=self.presenter, settings=settings.api)

    def reading(self, *, within: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction to read in; within so many seconds, by default what a statement may take."""
        return bounded_transaction(self._read, within=within or self.settings.database.statement_timeout)

    def changing(self, *, many: bool = False) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction in which an operator's request changes something.

        It has ended within the accept timeout or, for ``many`` rows, within what a statement may take. A commit whose
        answer is lost is told as one that failed: such a request is safe to repeat.
        """
        within = self.settings.database.statement_timeout if many else self._timeout
        return bounded_transaction(self._read, within=within)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what goes on beside requests; in the end store what waits and close every connection."""
        self.commits.start()
        warming = asyncio.create_task(self._ingest.warm(self.settings.api.flushers), name="warm")
        self.notifier.start()
        levels = asyncio.create_task(self._levels.follow(), name="log-level")
        try:
            yield
        finally:
            await self.commits.close()
            warming.cancel()
            levels.cancel()
            await asyncio.wait({warming, levels})
            await self.notifier.close()
            await self._ingest.close()
            await self._wake.close()
            await self._read.dispose()

    async def _store(
        self, events: Sequence[NewEvent], *, within: float, before_commit: Callable[[], None]
    ) -> list[StoredEvent]:
        async with self._ingest.transaction(within=within, before_commit=before_commit) as connection:
            return await store_events(connection, events)

    async def _asked_level(self) -> AskedLevel | None:
        async with bounded_transaction(self._looking, within=self._timeout) as connection:
            return await asked_level(connection, Service.API)

    async def _notify(self) -> None:
        await self._wake.execute(NOTIFY, within=self._timeout)


def services_of(request: Request) -> Services:
    """Return the services of the request's app."""
    return cast("Services", request.app.state.services)


def _impatient(settings: DatabaseSettings, seconds: float) -> DatabaseSettings:
    """Let no request wait longer for a connection than it may take as a whole."""
    return settings.model_copy(
        update={
            "connect_timeout": min(settings.connect_timeout, seconds),
            "pool_timeout": min(settings.pool_timeout, seconds),
        }
    )
