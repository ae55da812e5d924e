from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import text

from benchmarks.flow import NODES, three
from benchmarks.payload import event_id, event_parts
from events import DEFAULT_TENANT, AttemptOutcome, NodeStatus, RunStatus, new_id
from observability.metrics import null_metrics
from observability.tracing import new_span_id
from settings import Settings
from storage import due, leases, retention
from storage.claims import Claim, claim_together
from storage.driver_pool import DriverPool
from storage.ingest import store_events
from storage.outcomes import Finish, NodeWrite, finish_runs
from storage.records import ClaimedRun, DueRun, NewEvent, NewRun, NodeResult
from worker.app import create_celery
from worker.database import Database as WorkerDatabase
from worker.relay.chunking import Outgoing
from worker.relay.database import Database as RelayDatabase
from worker.relay.publisher import Publisher

_QUEUE: Final = "default"
_OUTPUTS: Final = (
    '{"customer":"ada lovelace","country":"GB"}',
    '{"cents":7500,"lines":3}',
    '{"customer":"ada lovelace","country":"GB","cents":7500,"lines":3,"total":"7500 cents"}',
)
_WITHIN: Final = 30.0
_LONG: Final = 3600.0
_PID: Final = "SELECT pg_backend_pid()"
_COMMIT: Final = text("SELECT pg_logical_emit_message(true, 'bench', 'x')")

Batch = Callable[[], Awaitable[object]]


class Work:
    """The statements of API, relay and worker, through each one's own way to PostgreSQL, one connection a kind."""

    together: Final = 4
    """Messages in one sending."""

    def __init__(self, settings: Settings) -> None:
        self._app = create_celery(settings)
        self._api = DriverPool(settings.database, application="units-api")
        self._relay = RelayDatabase(settings.database)
        self._worker = WorkerDatabase(settings.database, application="units-worker", pool_size=1)
        self._publisher = Publisher(self._app, metrics=null_metrics())
        self._lease = new_id()
        self._number = 0
        self._place = retention.START
        self.pids: dict[str, int] = {}

    async def open(self) -> None:
        """Connect, and open a lease to claim under."""
        async with self._api.transaction(within=_WITHIN, before_commit=_nothing) as connection:
            self.pids["api"] = await connection.fetchval(_PID)
        async with self._relay.transaction() as relay:
            self.pids["relay"] = (await relay.execute(text(_PID))).scalar_one()
        async with self._worker.transaction() as worker:
            self.pids["worker"] = (await worker.execute(text(_PID))).scalar_one()
            await leases.open_lease(worker, lease_id=self._lease, worker="units", seconds=_LONG)

    async def close(self) -> None:
        """Let go of everything, and of the messages that nobody is to get."""
        self._publisher.close()
        with self._app.connection_for_write() as connection:
            connection.default_channel.client.delete(_QUEUE)
        await self._api.close()
        await self._relay.close()
        await self._worker.close()

    def steps(self, *, size: int, rounds: int) -> Iterator[tuple[str, str, list[Batch]]]:
        """Yield name, kind of process and batches of each step, in the order of an event's way.

        Each step must be done before the next is asked for.
        """
        events = [[self._event() for _ in range(size)] for _ in range(rounds)]
        yield "accept", "api", [partial(self._accept, batch) for batch in events]
        taken: list[due.Taken] = []
        yield "publish", "relay", [lambda: self._publish(size, taken)] * rounds
        yield "keep", "relay", [partial(self._keep, one) for one in taken]
        claimed: list[list[ClaimedRun]] = []
        claims = [self._claim_of([run_id for _, run_id in one.keys]) for one in taken]
        yield "claim", "worker", [partial(self._claim, claim, claimed) for claim in claims]
        finishes = [[_finish_of(run) for run in runs] for runs in claimed]
        yield "finish", "worker", [partial(self._finish, batch) for batch in finishes]
        yield "remove", "relay", [lambda: self._remove(size)] * rounds

    def sendings(self, *, size: int, rounds: int) -> list[Batch]:
        """Return sendings of ``together`` messages with ``size`` runs each."""
        orders = [[_message(size) for _ in range(self.together)] for _ in range(rounds)]
        return [partial(self._publisher.send, order) for order in orders]

    async def renew(self) -> None:
        """Renew a worker's lease."""
        async with self._worker.transaction() as connection:
            await leases.renew_lease(connection, lease_id=self._lease, seconds=_LONG)

    async def commit(self) -> None:
        """Commit next to nothing."""
        async with self._worker.statement() as connection:
            await connection.execute(_COMMIT)

    async def round_trip(self) -> None:
        """Ask for next to nothing."""
        async with self._worker.statement() as connection:
            await connection.execute(text("SELECT 1"))

    async def _accept(self, batch: list[NewEvent]) -> None:
        async with self._api.transaction(within=_WITHIN, before_commit=_nothing) as connection:
            await store_events(connection, batch)

    async def _publish(self, size: int, into: list[due.Taken]) -> None:
        """Do what a pass of the relay does in PostgreSQL."""
        async with self._relay.reading() as connection:
            await due.queues_with_work(connection)
        async with self._relay.transaction() as connection:
            await due.take_turn(connection, _QUEUE)
            await due.window_of(connection, _QUEUE, most=2000)
            taken, _ = await due.take_due(connection, _QUEUE, most=size, lease=_LONG)
        async with self._relay.reading() as connection:
            await due.seconds_to_next(connection, [_QUEUE])
        into.append(taken)

    async def _keep(self, taken: due.Taken) -> None:
        async with self._relay.transaction() as connection:
            await due.keep_published(connection, [taken], seconds=_LONG)

    async def _claim(self, claim: Claim, into: list[list[ClaimedRun]]) -> None:
        async with self._worker.statement() as connection:
            into += await claim_together(connection, [claim])

    async def _finish(self, batch: list[Finish]) -> None:
        async with self._worker.statement() as connection:
            await finish_runs(connection, batch)

    async def _remove(self, size: int) -> None:
        async with self._relay.transaction() as connection:
            removed = await retention.remove_ended(connection, age=0.0, most=size, place=self._place)
        self._place = removed.place or retention.START

    def _claim_of(self, run_ids: list[UUID]) -> Claim:
        return Claim(
            tenant=DEFAULT_TENANT,
            run_ids=run_ids,
            span_ids=[new_span_id() for _ in run_ids],
            lease_id=self._lease,
            task_id=str(new_id()),
        )

    def _event(self) -> NewEvent:
        self._number += 1
        before, after = event_parts("bench.three", source="units")
        data = (before + event_id(self._number) + after).decode()
        own = new_id()
        run = NewRun(run_id=new_id(), pipeline=three.name, pipeline_version=three.version, queue=_QUEUE)
        return NewEvent(
            tenant=DEFAULT_TENANT,
            event_id=own,
            source="units",
            ce_id=str(own),
            type="bench.three",
            subject=None,
            time=None,
            data=data[data.index('"data":') + len('"data":') : -1],
            content_hash=own.bytes * 2,
            traceparent=_traceparent(),
            runs=(run,),
        )


def _traceparent() -> str:
    return f"00-{new_id().hex}-{new_span_id()}-01"


def _message(size: int) -> Outgoing:
    runs = tuple(
        DueRun(tenant=DEFAULT_TENANT, run_id=new_id(), pipeline=three.name, queue=_QUEUE, traceparent=_traceparent())
        for _ in range(size)
    )
    return Outgoing(tenant=DEFAULT_TENANT, pipeline=three.name, queue=_QUEUE, runs=runs)


def _finish_of(run: ClaimedRun) -> Finish:
    nodes = tuple(_node_of(run, node, output) for node, output in zip(NODES, _OUTPUTS, strict=True))
    return Finish(
        tenant=run.event.tenant,
        run_id=run.run_id,
        attempt=run.attempt,
        status=RunStatus.SUCCEEDED,
        outcome=AttemptOutcome.SUCCEEDED,
        nodes=nodes,
    )


def _node_of(run: ClaimedRun, node: str, output: str) -> NodeWrite:
    result = NodeResult(
        node=node,
        item=0,
        attempt=run.attempt,
        status=NodeStatus.SUCCEEDED,
        output=None,
        error=None,
        started_at=datetime.now(UTC),
        duration_seconds=0.00005,
        span_id=new_span_id(),
    )
    return NodeWrite(
        tenant=run.event.tenant, run_id=run.run_id, attempt=run.attempt, result=result, output=output, error=None
    )


def _nothing() -> None:
    """Commit without a word."""
