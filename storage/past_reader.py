from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from settings import DatabaseSettings
from storage.engine import create_engine
from storage.finding import FoundId, IdPrefix, find_ids
from storage.past_runs import FIRST_ID, LAST_ID, PastRun, ended_runs, event_ids, past_runs
from storage.snapshots import snapshot

_PAGE: Final = 1000
"""Events that are looked through at a time for runs of a pipeline."""


class PastReader:
    """Reads past runs over a connection of its own, a page at a time, and writes nothing.

    Its methods raise ``DatabaseUnavailable`` when PostgreSQL is away.
    """

    def __init__(self, settings: DatabaseSettings, *, tenant: str, application: str) -> None:
        self._engine = create_engine(settings, application=application, pool_size=1)
        self._within = settings.connect_timeout + settings.statement_timeout
        self._tenant = tenant

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._engine.dispose()

    async def find(self, prefix: IdPrefix) -> list[FoundId]:
        """List events and runs whose ids begin like that, up to two of each."""
        async with snapshot(self._engine, within=self._within) as connection:
            return await find_ids(connection, prefix, tenant=self._tenant)

    async def read(self, run_ids: Sequence[UUID]) -> list[PastRun]:
        """Read runs whole, in this order; those that aren't there any more are left out."""
        async with snapshot(self._engine, within=self._within) as connection:
            return await past_runs(connection, tenant=self._tenant, run_ids=run_ids)

    async def page(
        self, pipeline: str, *, types: Sequence[str] | None, since: UUID = FIRST_ID, before: UUID = LAST_ID
    ) -> tuple[list[UUID], UUID | None]:
        """List runs of a pipeline among the newest events ``before`` that id, and where the next page begins.

        The runs have ended, and none repeats them. None as the second part: there is no next page.
        """
        async with snapshot(self._engine, within=self._within) as connection:
            found = await event_ids(
                connection, tenant=self._tenant, types=types, since=since, before=before, most=_PAGE
            )
            run_ids = await ended_runs(connection, tenant=self._tenant, pipeline=pipeline, event_ids=found)
        return run_ids, found[-1] if len(found) == _PAGE else None
