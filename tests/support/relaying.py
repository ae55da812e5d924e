import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar, overload
from uuid import UUID

from redis import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import Outcome, new_id
from observability.metrics import Metrics
from settings import Settings
from storage import claims, ingest, leases, outcomes, wake
from storage.engine import create_engine, transaction
from storage.policies import RunPolicy
from storage.records import ClaimedRun, NewEvent, NewRun
from tests.support.driver import Fetching
from worker.app import create_celery
from worker.outcomes import finish_of
from worker.relay import Relay

TENANT = "default"

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage:
    """A message as it lies in Redis."""

    headers: dict[str, Any]
    kwargs: dict[str, Any]

    @property
    def run_ids(self) -> list[UUID]:
        return [UUID(run_id) for run_id in self.kwargs["run_ids"]]


class World:
    """A database and a Redis of the test's own, with the API's part done by hand and no worker."""

    def __init__(self, *, database_url: str, redis_url: str, **groups: dict[str, object]) -> None:
        database: dict[str, object] = {"url": database_url, **groups.pop("database", {})}
        redis: dict[str, object] = {"url": redis_url, **groups.pop("redis", {})}
        self.settings = Settings.model_validate({"database": database, "redis": redis, **groups})
        self.engine: AsyncEngine = create_engine(
            self.settings.database.model_copy(update={"url": type(self.settings.database.url)(database_url)}),
            application="test",
        )
        self.redis: Redis = Redis.from_url(redis_url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.dispose()
        self.redis.close()

    async def store(
        self,
        count: int = 1,
        *,
        pipeline: str = "p",
        queue: str = "default",
        traceparent: str | None = None,
        data: str = "{}",
        policy: RunPolicy | None = None,
    ) -> list[UUID]:
        """Accept events of one run each; return the runs' ids."""
        new = [_event(pipeline, queue, traceparent, data, policy) for _ in range(count)]
        async with transaction(self.engine) as connection:
            await ingest.store_events(Fetching(connection), new)
        return [event.runs[0].run_id for event in new]

    async def notify(self) -> None:
        """Wake the relays as the API does."""
        async with transaction(self.engine) as connection:
            await wake.notify(connection)

    async def lease(self, *, seconds: float) -> UUID:
        """Begin a worker process's lease."""
        lease_id = new_id()
        async with transaction(self.engine) as connection:
            await leases.open_lease(connection, lease_id=lease_id, worker="worker:1", seconds=seconds)
        return lease_id

    async def claim(self, lease_id: UUID, run_ids: Sequence[UUID]) -> list[ClaimedRun]:
        """Claim as a worker does."""
        asked = claims.Claim(
            tenant=TENANT,
            run_ids=run_ids,
            span_ids=["00f067aa0ba902b7"] * len(run_ids),
            lease_id=lease_id,
            task_id="task",
        )
        async with transaction(self.engine) as connection:
            return await claims.claim_runs(connection, asked)

    async def finish(self, runs: Iterable[ClaimedRun], outcome: Outcome) -> None:
        """End tries as a worker does."""
        async with transaction(self.engine) as connection:
            await outcomes.finish_runs(connection, [finish_of(run, outcome) for run in runs])

    async def value(self, statement: str, **parameters: object) -> Any:
        """Ask for one value."""
        async with self.engine.connect() as connection:
            return (await connection.execute(text(statement), parameters)).scalar_one()

    def messages(self, queue: str = "default") -> list[SentMessage]:
        """The messages that lie in Redis, the oldest first."""
        return [_decoded(raw) for raw in reversed(self.redis.lrange(queue, 0, -1))]  # type: ignore[arg-type]  # sync client

    def sent(self, queue: str = "default") -> list[UUID]:
        """The run ids in the messages that lie in Redis."""
        return [run_id for message in self.messages(queue) for run_id in message.run_ids]

    def fetch(self, queue: str = "default") -> list[UUID]:
        """Fetch the oldest message as a worker does; return its run ids."""
        return _decoded(self.redis.rpop(queue)).run_ids  # type: ignore[arg-type]  # sync client, and there is one

    @asynccontextmanager
    async def relay(self, *, metrics: Metrics | None = None, **groups: Mapping[str, object]) -> AsyncIterator[Relay]:
        """Run a relay; ``groups`` change the world's settings for it."""
        changed = {name: getattr(self.settings, name).model_copy(update=values) for name, values in groups.items()}
        settings = self.settings.model_copy(update=changed)
        relay = Relay(settings, app=create_celery(settings), metrics=metrics)
        running = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            relay.stop()
            await running


@overload
async def until(condition: Callable[[], Awaitable[AnswerT]], *, within: float = 10.0) -> AnswerT: ...
@overload
async def until(condition: Callable[[], AnswerT], *, within: float = 10.0) -> AnswerT: ...
async def until(condition: Callable[[], Any], *, within: float = 10.0) -> Any:
    """Look until ``condition`` is true, and return what it gave."""
    deadline = time.monotonic() + within
    while True:
        found = condition()
        last = await found if isinstance(found, Awaitable) else found
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {condition}; last: {last!r}")
        await asyncio.sleep(0.01)


def _event(pipeline: str, queue: str, traceparent: str | None, data: str, policy: RunPolicy | None) -> NewEvent:
    event_id = new_id()
    return NewEvent(
        tenant=TENANT,
        event_id=event_id,
        source="test",
        ce_id=str(event_id),
        type="t",
        subject=None,
        time=None,
        data=data,
        content_hash=b"0" * 32,
        traceparent=traceparent,
        runs=(NewRun(run_id=new_id(), pipeline=pipeline, pipeline_version=1, queue=queue, policy=policy),),
    )


def _decoded(raw: bytes) -> SentMessage:
    message = json.loads(raw)
    _, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    return SentMessage(headers=message["headers"], kwargs=kwargs)
