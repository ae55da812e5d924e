"""The relay's admission over a world, pass by pass."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import text

from events import LimitKey, Succeeded
from observability.metrics import Metrics
from storage.audit import audit
from storage.engine import transaction
from storage.policies import RunPolicy
from storage.records import ClaimedRun
from tests.support.relaying import World
from worker.relay.admission import Admission
from worker.relay.database import Database


def limited(name: str = "vendor", key: str = "a", *, priority: int = 0, **numbers: float) -> RunPolicy:
    """What a run has that one limit holds for."""
    return RunPolicy(limits=(LimitKey(name=name, key=key, **numbers),), priority=priority)  # type: ignore[arg-type]  # the numbers of its fields


class Gate:
    """One relay's admission, and what a test asks of the runs that it lets go."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.registry = CollectorRegistry()
        self._database = Database(world.settings.database)
        self._admission = Admission(database=self._database, metrics=Metrics(self.registry), idle=1.0)

    async def close(self) -> None:
        """Close its connections."""
        await self._database.close()

    async def once(self) -> int:
        """Do one pass; return how many runs may be published since."""
        published, _ = await self._admission.run_once()
        return published

    async def admitted(self) -> list[UUID]:
        """The runs that are admitted and have not ended, in the order they were made."""
        async with self._world.engine.connect() as connection:
            found = await connection.execute(
                text("SELECT run_id FROM runs WHERE admitted_at IS NOT NULL AND finished_at IS NULL ORDER BY run_id")
            )
            return list(found.scalars())

    async def good(self, name: str = "vendor", key: str = "a") -> int:
        """How many permits of a limit's key are good."""
        return int(
            await self._world.value(
                "SELECT count(*) FROM permits p JOIN runs r USING (tenant, run_id, admitted_at) "
                "WHERE p.name = :name AND p.key = :key AND r.status IN ('queued', 'running')",
                name=name,
                key=key,
            )
        )

    async def claim(self, run_ids: Sequence[UUID]) -> list[ClaimedRun]:
        """Claim runs under a lease of a minute."""
        return await self._world.claim(await self._world.lease(seconds=60), run_ids)

    async def succeed(self, run_ids: Sequence[UUID]) -> None:
        """Carry admitted runs to a good end."""
        claimed = await self.claim(run_ids)
        assert len(claimed) == len(run_ids)
        await self._world.finish(claimed, Succeeded())

    async def pass_time(self, seconds: float, tables: Iterable[str] = ("permits", "runs")) -> None:
        """Let all that was admitted have been so many seconds earlier."""
        async with transaction(self._world.engine) as connection:
            for table in tables:
                await connection.execute(
                    text(f"UPDATE {table} SET admitted_at = admitted_at - make_interval(secs => :seconds)"),
                    {"seconds": seconds},
                )

    async def check(self) -> None:
        """Look for impossible states."""
        found = await audit(self._world.settings.database, grace=120.0, most=5, check_timeout=30.0)
        assert {one.check: one.ids for one in found if one.count} == {}
