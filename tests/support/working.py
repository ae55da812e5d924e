"""Real Celery workers over test servers, with the API's and the relay's part done by hand."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from redis import Redis
from sqlalchemy import text

from events import FINAL_STATUSES, RunStatus, new_id
from settings import Settings
from storage import claims, due, ingest, leases, queries
from storage.engine import create_engine, transaction
from storage.records import NewEvent, NewRun, RunRecord
from tests.support.driver import Fetching
from worker.app import TASK_NAME, create_celery

ROOT = Path(__file__).parents[2]
TENANT = "default"

_START = "from settings import load_settings; from worker.main import main; main(load_settings())"

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A run that was stored with its event."""

    event_id: UUID
    run_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCall:
    """One call of a node of ``tests.support.flows``."""

    run_id: str
    node: str
    attempt: int
    pid: int


class Worker:
    """A worker process; its output is kept in a file."""

    def __init__(self, output: Path, environment: Mapping[str, str], command: Sequence[str]) -> None:
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environment), stdout=file, stderr=file, start_new_session=True
            )

    @property
    def text(self) -> str:
        """What it has written."""
        return self.output.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one kind."""
        return [line for line in self.lines if line.get("event") == event]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self, *, within: float) -> float:
        """Wait for its end; return how long that took."""
        began = time.monotonic()
        await asyncio.to_thread(self.process.wait, within)
        return time.monotonic() - began

    def kill(self) -> None:
        """End it and its children, if they are still there."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Workshop:
    """A database and a Redis of the test's own, and the workers on them."""

    def __init__(self, *, database_url: str, redis_url: str, home: Path, **settings: str) -> None:
        self.home = home
        self.calls_path = home / "calls"
        self.variables = {
            "THROUGHLINE_DATABASE_URL": database_url,
            "THROUGHLINE_REDIS_URL": redis_url,
            "THROUGHLINE_PIPELINES_MODULES": '["tests.support.flows"]',
            "THROUGHLINE_PIPELINES_BUILTIN": "false",
            "THROUGHLINE_WORKER_METRICS_PORT": "0",
            "THROUGHLINE_WORKER_STOP_GRACE": "1",
            "THROUGHLINE_LOG_FORMAT": "json",
            **settings,
        }
        self.settings = Settings.model_validate({"database": {"url": database_url}, "redis": {"url": redis_url}})
        self.engine = create_engine(self.settings.database, application="test")
        self.redis = Redis.from_url(redis_url)
        self.celery = create_celery(self.settings)
        self._workers: list[Worker] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()
        self.celery.close()
        self.redis.close()
        await self.engine.dispose()

    def start(self, command: Sequence[str], **settings: str) -> Worker:
        """Start a worker and don't wait."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "OTEL_"))}
        environment = own | {"PYTHONPATH": str(ROOT)} | self.variables | settings
        worker = Worker(self.home / f"worker-{len(self._workers)}.log", environment, command)
        self._workers.append(worker)
        return worker

    async def worker(self, *, command: Sequence[str] = (), **settings: str) -> Worker:
        """Start a worker and wait until it consumes."""
        worker = self.start(command or [sys.executable, "-c", _START], **settings)

        def ready() -> bool:
            assert worker.process.poll() is None, worker.text
            return " ready." in worker.text and len(worker.logged("lease opened")) > 0

        await until(ready, what="the worker consumes", seconds=30.0)
        return worker

    async def cell(self, **settings: str) -> Worker:
        """Start the cell and wait until it consumes."""
        return await self.worker(THROUGHLINE_WORKER_CELL="true", **settings)

    async def relay(self, **settings: str) -> Worker:
        """Start a relay and wait until it works."""
        relay = self.start(
            [sys.executable, "-m", "throughline", "relay"], THROUGHLINE_RELAY_METRICS_PORT="0", **settings
        )
        await until(lambda: relay.logged("relay started"), what="the relay works", seconds=30.0)
        return relay

    async def store(self, pipeline: str, count: int = 1, *, version: int = 1, **options: Any) -> list[Sent]:
        """Do the API's part: store events, each with a run of ``pipeline``."""
        traceparents = options.pop("traceparents", [None] * count)
        queue = options.pop("queue", "default")
        data = json.dumps(options.pop("data", {"log": str(self.calls_path), **options}))
        events = []
        for traceparent in traceparents:
            event_id = new_id()
            events.append(
                NewEvent(
                    tenant=TENANT,
                    event_id=event_id,
                    source="test",
                    ce_id=str(event_id),
                    type=f"test.{pipeline}",
                    subject=None,
                    time=None,
                    data=data,
                    content_hash=b"x" * 32,
                    traceparent=traceparent,
                    runs=(NewRun(run_id=new_id(), pipeline=pipeline, pipeline_version=version, queue=queue),),
                )
            )
        async with transaction(self.engine) as connection:
            stored = await ingest.store_events(Fetching(connection), events)
        return [Sent(event_id=event.event_id, run_id=event.runs[0].run_id) for event in stored]

    def publish(
        self,
        pipeline: str,
        sent: Iterable[Sent],
        *,
        queue: str = "default",
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Do the relay's part: send one message for all; return its task id."""
        run_ids = [str(item.run_id) for item in sent]
        body = {"tenant": TENANT, "pipeline": pipeline, "run_ids": run_ids, **kwargs}
        return str(self.celery.send_task(TASK_NAME, kwargs=body, queue=queue, headers=headers, retry=False).id)

    async def mark_published(self, sent: Iterable[Sent]) -> None:
        """Do the relay's part: say that the runs are in Redis."""
        async with transaction(self.engine) as connection:
            await due.take_due(connection, "default", most=len(list(sent)), lease=60.0)

    async def run(self, sent: Sent) -> RunRecord:
        """Read a run."""
        async with self.engine.connect() as connection:
            event = await queries.get_event(connection, tenant=TENANT, event_id=sent.event_id)
        assert event is not None
        return event.runs[0]

    async def ended(self, sent: Sent, *, seconds: float = 20.0) -> RunRecord:
        """Wait until a run is in a final state, and read it."""

        async def final() -> RunRecord | None:
            run = await self.run(sent)
            return run if run.status in FINAL_STATUSES else None

        return await until(final, what="the run ends", seconds=seconds)

    async def in_status(self, sent: Sent, status: RunStatus) -> RunRecord | None:
        """Read a run if it is in this state."""
        run = await self.run(sent)
        return run if run.status is status and run.attempt else None

    async def take_away(self, sent: Sent) -> None:
        """End every lease and free its runs, as a rescuer does that found them dead."""
        async with transaction(self.engine) as connection:
            await connection.execute(text("UPDATE worker_leases SET ended_at = now()"))
        async with transaction(self.engine) as connection:
            ended = list((await connection.execute(text("SELECT lease_id FROM worker_leases"))).scalars())
            freed = await leases.free_runs(connection, ended, died=True)
        assert [run.run_id for run in freed] == [sent.run_id]

    async def claim_unseen(self, sent: Sent) -> None:
        """Claim a run under the worker's lease without the worker's knowledge."""
        lease_id = await self.scalar("SELECT lease_id FROM worker_leases WHERE ended_at IS NULL")
        claim = claims.Claim(tenant=TENANT, run_ids=[sent.run_id], span_ids=[None], lease_id=lease_id, task_id=None)
        async with transaction(self.engine) as connection:
            assert len(await claims.claim_runs(connection, claim)) == 1

    async def rescue(self) -> int:
        """Do the relay's part: end what expired, free its runs; return how many."""
        async with transaction(self.engine) as connection:
            ended = await leases.end_expired_leases(connection)
        async with transaction(self.engine) as connection:
            return len(await leases.free_runs(connection, [lease.lease_id for lease in ended], died=True))

    async def scalar(self, statement: str) -> Any:
        """Ask the database."""
        async with self.engine.connect() as connection:
            return (await connection.execute(text(statement))).scalar()

    def calls(self, sent: Sent | None = None) -> list[NodeCall]:
        """Tell which nodes were called, in order."""
        if not self.calls_path.exists():
            return []
        found = [line.split() for line in self.calls_path.read_text().splitlines()]
        calls = [NodeCall(run_id=a, node=b, attempt=int(c), pid=int(d)) for a, b, c, d in found]
        return [call for call in calls if sent is None or call.run_id == str(sent.run_id)]

    @property
    def unacknowledged(self) -> int:
        """How many messages Redis keeps for a worker that has not acknowledged them."""
        return int(self.redis.hlen("unacked"))  # type: ignore[arg-type]  # redis-py types both of its faces at once


@asynccontextmanager
async def workshop(database_url: str, redis_url: str, home: Path, **settings: str) -> AsyncIterator[Workshop]:
    """Open a workshop; at its end no worker is left."""
    async with Workshop(database_url=database_url, redis_url=redis_url, home=home, **settings) as made:
        yield made


async def until(
    answer: Callable[[], Awaitable[AnswerT | None] | AnswerT | None], *, what: str, seconds: float = 15.0
) -> AnswerT:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = answer()
        value = await found if isinstance(found, Awaitable) else found
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.03)
