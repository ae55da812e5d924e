"""What processes do to runs: each operation as storage does it, and as the model says it must come out.

``predict`` changes the model's state and tells the answer; ``perform`` does it on a connection, in its transaction.
Answers are by key, so that two operations on the same runs can be judged run by run. ``locked`` is what an operation
with ``passes_over`` finds locked by another, and leaves alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events import AttemptOutcome, FailureKind, NodeStatus, QueueReason, RunStatus, new_id
from storage import accounting, cancels, claims, due, ingest, leases, outcomes, replays, retention
from storage.deaths import Death
from storage.records import NewEvent, NewRun, NodeResult
from storage.wait_writes import WaitWrite
from tests.support.driver import Fetching
from tests.support.life.state import Key, Lease, Node, Run, State

TENANT = "default"
CELL = leases.Cell()
OWN = Death(how="ended by itself", own=True)
LATER = 3600.0
OLD = 30 * 86_400.0
MANY = 1000

Answer = dict[Key, object]
Takings = dict[str, due.Taken]
NOTHING: frozenset[Key] = frozenset()


class Operation(ABC):
    """One call of storage in a transaction of its own."""

    passes_over: ClassVar[bool] = False
    fenced: ClassVar[bool] = False
    """Whether it changes nothing at all, no time either, when it answers nothing."""

    @abstractmethod
    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer: ...

    @abstractmethod
    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer: ...

    @abstractmethod
    def locks(self, state: State) -> frozenset[Key]:
        """What another that passes over locked rows may find locked by this one."""


@dataclass(frozen=True, slots=True)
class Accept(Operation):
    """Store an event with runs; or send it again."""

    ce_id: str
    event_id: UUID
    run_ids: tuple[UUID, ...]

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        if self.ce_id not in state.events:
            state.events[self.ce_id] = self.event_id
            state.runs |= {run_id: Run(self.ce_id) for run_id in self.run_ids}
        return {self.ce_id: state.events[self.ce_id]}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        runs = tuple(
            NewRun(run_id=run_id, pipeline=f"p{number}", pipeline_version=1, queue="default")
            for number, run_id in enumerate(self.run_ids)
        )
        event = NewEvent(
            tenant=TENANT,
            event_id=self.event_id,
            source="test",
            ce_id=self.ce_id,
            type="t",
            subject=None,
            time=None,
            data="{}",
            content_hash=b"x" * 32,
            traceparent=None,
            runs=runs,
        )
        [stored] = await ingest.store_events(Fetching(connection), [event])
        return {self.ce_id: stored.event_id}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset({self.ce_id})


@dataclass(frozen=True, slots=True)
class Take(Operation):
    """A relay takes what is due; ``name`` tells this taking from others."""

    name: str
    queue: str = "default"
    seconds: float = LATER
    passes_over: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:
        taken: Answer = {}
        for run_id, run in state.runs.items():
            if run.status == "queued" and run.queue == self.queue and run.publishable and run_id not in locked:
                run.published, run.publishable = self.name, self.seconds == 0
                taken[run_id] = True
        return taken

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:
        taken, runs = await due.take_due(connection, self.queue, most=MANY, lease=self.seconds)
        takings[self.name] = taken
        return {run.run_id: True for run in runs}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(state.runs)


@dataclass(frozen=True, slots=True)
class Keep(Operation):
    """A relay leaves what it sent alone for longer, or puts back what it could not send."""

    name: str
    seconds: float
    back: bool = False

    @property
    def passes_over(self) -> bool:  # type: ignore[override]
        return not self.back

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:
        for run_id, run in state.runs.items():
            if run.status != "queued" or run.published != self.name or run_id in locked:
                continue
            if self.back or not run.publishable:
                run.publishable = self.seconds == 0
                run.published = None if self.back else self.name
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:
        if self.back:
            await due.put_back(connection, [takings[self.name]], seconds=self.seconds)
        else:
            await due.keep_published(connection, [takings[self.name]], seconds=self.seconds)
        return {}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(run_id for run_id, run in state.runs.items() if run.published == self.name)


@dataclass(frozen=True, slots=True)
class Claim(Operation):
    """A worker claims what a message names: double, late and stale ones too."""

    lease_id: UUID
    run_ids: tuple[UUID, ...]
    fenced: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        lease = state.leases.get(self.lease_id)
        if lease is None or lease.stands != "live":
            return {}
        claimed: Answer = {}
        for run_id in self.run_ids:
            run = state.runs.get(run_id)
            if run and run.status == "queued" and run.due and (run.home is None or lease.cell):
                run.status, run.reason, run.lease, run.published = "running", None, self.lease_id, None
                run.attempt += 1
                run.outcomes[run.attempt] = None
                claimed[run_id] = (run.attempt, run.errors, run.deaths)
        return claimed

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        asked = claims.Claim(
            tenant=TENANT,
            run_ids=self.run_ids,
            span_ids=[None] * len(self.run_ids),
            lease_id=self.lease_id,
            task_id=None,
        )
        claimed = await claims.claim_runs(connection, asked)
        return {run.run_id: (run.attempt, run.errors, run.deaths) for run in claimed}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset({self.lease_id, *self.run_ids})


@dataclass(frozen=True, slots=True)
class Put(Operation):
    """A worker defers queued runs (``seconds``), or releases them (None) to be published again."""

    run_ids: tuple[UUID, ...]
    seconds: float | None

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        for run_id in self.run_ids:
            run = state.runs.get(run_id)
            if run and run.status == "queued":
                if self.seconds is not None:
                    run.reason = "unknown_pipeline"
                    run.due = run.due and self.seconds == 0
                run.publishable, run.published = run.due, None
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        if self.seconds is None:
            await claims.release_runs(connection, tenant=TENANT, run_ids=self.run_ids)
        else:
            await claims.defer_runs(
                connection, tenant=TENANT, run_ids=self.run_ids, delay=self.seconds, reason="unknown_pipeline"
            )
        return {}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset(self.run_ids)


Write = tuple[UUID, int, Mapping[str, Node]]
"""``(run, attempt, nodes by name)``."""


@dataclass(frozen=True, slots=True)
class Checkpoint(Operation):
    """A worker stores node results, of attempts that it may have lost."""

    writes: tuple[Write, ...]
    fenced: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        held: Answer = {}
        for run_id, attempt, nodes in self.writes:
            run = state.runs.get(run_id)
            if run and run.held_by(attempt):
                run.write(dict(nodes))
                held[run_id] = attempt
        return held

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        nodes = [node for write in self.writes for node in _node_writes(*write)]
        return dict(await outcomes.write_nodes(connection, nodes))

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset(run_id for run_id, _, _ in self.writes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a worker says that an attempt ended."""

    run_id: UUID
    attempt: int
    outcome: AttemptOutcome
    delay: float = 0.0
    nodes: Mapping[str, Node] = field(default_factory=dict)

    @property
    def status(self) -> RunStatus:
        if self.reason is not None:
            return RunStatus.QUEUED
        return RunStatus(self.outcome.value)

    @property
    def reason(self) -> QueueReason | None:
        words = {
            AttemptOutcome.RETRIED: QueueReason.RETRY,
            AttemptOutcome.HANDED_BACK: QueueReason.HANDED_BACK,
            AttemptOutcome.SUSPENDED: QueueReason.SLEEPING,
        }
        return words.get(self.outcome)

    @property
    def wait(self) -> WaitWrite | None:
        if self.outcome is not AttemptOutcome.SUSPENDED:
            return None
        return WaitWrite(
            tenant=TENANT, run_id=self.run_id, attempt=self.attempt, node=f"nap {self.attempt}", seconds=self.delay
        )

    @property
    def failed(self) -> bool:
        return self.outcome in {AttemptOutcome.RETRIED, AttemptOutcome.FAILED}


@dataclass(frozen=True, slots=True)
class Finish(Operation):
    """A worker ends attempts, also such as it has lost."""

    endings: tuple[Ending, ...]
    fenced: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        ended: Answer = {}
        for ending in self.endings:
            run = state.runs.get(ending.run_id)
            if run and run.held_by(ending.attempt):
                _end(run, ending)
                ended[ending.run_id] = ending.attempt
        return ended

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        finishes = [
            outcomes.Finish(
                tenant=TENANT,
                run_id=ending.run_id,
                attempt=ending.attempt,
                status=ending.status,
                outcome=ending.outcome,
                reason=ending.reason,
                delay=ending.delay,
                kind=FailureKind.ERROR if ending.status is RunStatus.FAILED else None,
                error='{"type": "Broken"}' if ending.failed else None,
                spent=int(ending.outcome is AttemptOutcome.RETRIED),
                nodes=tuple(_node_writes(ending.run_id, ending.attempt, ending.nodes)),
                wait=ending.wait,
            )
            for ending in self.endings
        ]
        return dict(list(await outcomes.finish_runs(connection, finishes)))

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset(ending.run_id for ending in self.endings)


def _end(run: Run, ending: Ending) -> None:
    status = ending.status.value
    cancelled = status == "queued" and run.cancel is not None
    run.outcomes[run.attempt] = "cancelled" if cancelled else ending.outcome.value
    run.errors += ending.outcome is AttemptOutcome.RETRIED
    run.kind = "error" if status == "failed" else None
    run.error = "Broken" if ending.failed else None
    if ending.outcome in {AttemptOutcome.RETRIED, AttemptOutcome.SUSPENDED}:
        run.queue, run.home = run.home or run.queue, None
    run.write(dict(ending.nodes))
    if cancelled or ending.reason is None:
        run.ended("cancelled" if cancelled else status)
    else:
        run.queued(ending.reason.value, due=ending.delay == 0)


@dataclass(frozen=True, slots=True)
class OpenLease(Operation):
    """A worker process boots."""

    lease_id: UUID
    cell: bool

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        state.leases[self.lease_id] = Lease(self.cell)
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        await leases.open_lease(connection, lease_id=self.lease_id, worker="w", seconds=LATER, cell=self.cell)
        return {}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return NOTHING


@dataclass(frozen=True, slots=True)
class Renew(Operation):
    """A worker's heartbeat."""

    lease_id: UUID

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        lease = state.leases.get(self.lease_id)
        if lease is None or lease.stands == "ended":
            return {self.lease_id: False}
        lease.stands = "live"
        return {self.lease_id: True}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        return {self.lease_id: await leases.renew_lease(connection, lease_id=self.lease_id, seconds=LATER)}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset({self.lease_id})


@dataclass(frozen=True, slots=True)
class EndLease(Operation):
    """A worker that stops ends its lease."""

    lease_id: UUID

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        if self.lease_id in state.leases:
            state.leases[self.lease_id].stands = "ended"
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        await leases.end_lease(connection, self.lease_id)
        return {}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset({self.lease_id})


@dataclass(frozen=True, slots=True)
class EndExpired(Operation):
    """A relay ends the leases that were not renewed."""

    passes_over: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:
        ended: Answer = {}
        for lease_id, lease in state.leases.items():
            if lease.stands == "expired" and lease_id not in locked:
                lease.stands = "ended"
                ended[lease_id] = True
        return ended

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        return {lease.lease_id: True for lease in await leases.end_expired_leases(connection)}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(lease_id for lease_id, lease in state.leases.items() if lease.stands == "expired")


@dataclass(frozen=True, slots=True)
class Free(Operation):
    """The runs of ended leases are queued again: by a relay whose worker died, or by a worker that stops."""

    lease_ids: tuple[UUID, ...]
    died: bool
    wait: bool = False
    fenced: ClassVar[bool] = True

    @property
    def passes_over(self) -> bool:  # type: ignore[override]
        return not self.wait

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:
        freed: Answer = {}
        for run_id, run in state.runs.items():
            if run.status == "running" and run.lease in self.lease_ids and run_id not in locked:
                lease = state.leases.get(run.lease)
                freed[run_id] = _free(run, died=self.died, cell=bool(lease and lease.cell))
        return freed

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        freed = await leases.free_runs(connection, self.lease_ids, died=self.died, death=OWN, cell=CELL, wait=self.wait)
        return {run.run_id: (run.attempt, run.cancelled, run.poisoned, run.isolated) for run in freed}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(run_id for run_id, run in state.runs.items() if run.lease in self.lease_ids)


def _free(run: Run, *, died: bool, cell: bool) -> tuple[int, bool, bool, bool]:
    run.deaths += died
    run.cell_deaths += died and cell
    cancelled = run.cancel is not None
    poisoned = died and cell and not cancelled and run.cell_deaths >= CELL.deaths
    isolated = died and not cancelled and not poisoned and run.home is None and run.deaths >= leases.FREE_DEATHS
    run.outcomes[run.attempt] = "lost" if died else "cancelled" if cancelled else "handed_back"
    run.due = run.publishable = True
    if poisoned:
        run.kind, run.error = "poisoned", "Poisoned"
    if isolated:
        run.home, run.queue = run.queue, CELL.queue
    if cancelled or poisoned:
        run.ended("failed" if poisoned else "cancelled")
    else:
        run.queued("isolated" if isolated else "rescued" if died else "handed_back", due=True)
    return run.attempt, cancelled, poisoned, isolated


@dataclass(frozen=True, slots=True)
class Cancel(Operation):
    """Somebody wants runs to end."""

    run_ids: tuple[UUID, ...]
    reason: str

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        asked: Answer = {}
        for run_id in self.run_ids:
            run = state.runs.get(run_id)
            if run and not run.final:
                run.cancel = run.cancel or self.reason
                if run.status == "queued":
                    run.ended("cancelled")
                    run.published = None
                asked[run_id] = run.status
        return asked

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        asked = await cancels.request_cancel(connection, tenant=TENANT, run_ids=self.run_ids, reason=self.reason)
        return {run_id: status.value for run_id, status in asked.items()}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return frozenset(self.run_ids)


@dataclass(frozen=True, slots=True)
class Replay(Operation):
    """Somebody repeats a run; ``kept`` nodes' results are taken over."""

    origin: UUID
    event_id: UUID
    run_id: UUID
    kept: frozenset[str] = frozenset()

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        if self.origin not in state.runs or not _repeat(state, self.origin, self.run_id, self.kept):
            return {}
        return {self.run_id: self.origin}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        if not await replays.take_turn(connection, tenant=TENANT, event_id=self.event_id):
            return {}
        asked = replays.Replay(
            origin=self.origin, run_id=self.run_id, pipeline_version=1, queue="default", traceparent=None
        )
        made = await replays.replay_runs(connection, tenant=TENANT, replays=[asked], begin=replays.From(kept=self.kept))
        return {run_id: origin for origin, run_id in made.items()}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(ce_id for ce_id, event_id in state.events.items() if event_id == self.event_id)


@dataclass(frozen=True, slots=True)
class ReplayDead(Operation):
    """Somebody repeats all dead runs; ``run_ids`` are the new ones', by origin."""

    run_ids: Mapping[UUID, UUID]
    passes_over: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:
        made: Answer = {}
        for origin in state.dead():
            if state.runs[origin].event not in locked and origin in self.run_ids:
                _repeat(state, origin, self.run_ids[origin], frozenset())
                made[self.run_ids[origin]] = origin
        return made

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        matching = replays.DeadFilter(pipelines=tuple(f"p{number}" for number in range(10)))
        dead = await replays.take_dead(connection, tenant=TENANT, matching=matching, most=MANY)
        asked = [
            replays.Replay(
                origin=run.run_id,
                run_id=self.run_ids[run.run_id],
                pipeline_version=1,
                queue="default",
                traceparent=None,
            )
            for run in dead
            if run.run_id in self.run_ids
        ]
        made = await replays.replay_runs(connection, tenant=TENANT, replays=asked)
        return {run_id: origin for origin, run_id in made.items()}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(state.runs[run_id].event for run_id in state.dead())


def _repeat(state: State, origin: UUID, run_id: UUID, kept: frozenset[str]) -> bool:
    run = state.runs[origin]
    if not run.final or state.replayed(origin):
        return False
    nodes = {
        name: ("succeeded", 0, output)
        for name, (status, _, output) in run.nodes.items()
        if status == "succeeded" and name in kept
    }
    state.runs[run_id] = Run(run.event, reason="replayed", replay_of=origin, nodes=nodes)
    return True


@dataclass(frozen=True, slots=True)
class Remove(Operation):
    """A relay removes what ended well long ago."""

    passes_over: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:
        dead = state.dead()
        for ce_id in [ce_id for ce_id in state.events if ce_id not in locked]:
            run_ids = state.of_event(ce_id)
            if run_ids and all(state.runs[run_id].old and run_id not in dead for run_id in run_ids):
                del state.events[ce_id]
                for run_id in run_ids:
                    del state.runs[run_id]
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        await retention.remove_ended(connection, age=OLD, most=MANY)
        return {}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(state.events)


@dataclass(frozen=True, slots=True)
class Republish(Operation):
    """A relay finds that Redis has lost what it was sent."""

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        for run in state.runs.values():
            if run.status == "queued" and run.published is not None and not run.publishable:
                run.publishable = True
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        await due.republish_window(connection)
        return {}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(state.runs)


@dataclass(frozen=True, slots=True)
class Hurry(Operation):
    """A relay finds that a worker died, which may have fetched what it was sent."""

    passes_over: ClassVar[bool] = True

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:
        for run_id, run in state.runs.items():
            if run.status == "queued" and run.published is not None and run_id not in locked:
                run.publishable = True
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        await due.hurry_published(connection, before=datetime.now(UTC) + timedelta(days=1))
        return {}

    def locks(self, state: State) -> frozenset[Key]:
        return frozenset(state.runs)


@dataclass(frozen=True, slots=True)
class Fold(Operation):
    """A relay folds the account."""

    most: int

    def predict(self, state: State, locked: frozenset[Key] = NOTHING) -> Answer:  # noqa: ARG002
        return {}

    async def perform(self, connection: AsyncConnection, takings: Takings) -> Answer:  # noqa: ARG002
        await accounting.fold_deltas(connection, most=self.most)
        return {}

    def locks(self, state: State) -> frozenset[Key]:  # noqa: ARG002
        return NOTHING


def _node_writes(run_id: UUID, attempt: int, nodes: Mapping[str, Node]) -> list[outcomes.NodeWrite]:
    return [
        outcomes.NodeWrite(
            tenant=TENANT,
            run_id=run_id,
            attempt=attempt,
            output=str(output),
            error=None,
            result=NodeResult(
                node=name,
                item=0,
                attempt=attempt,
                status=NodeStatus(status),
                output=None,
                error=None,
                started_at=datetime.now(UTC),
                duration_seconds=0.1,
                span_id=None,
            ),
        )
        for name, (status, _, output) in nodes.items()
    ]


def accept_new(runs: int, *, ce_id: str | None = None) -> Accept:
    """An event that was never sent; or, with the ``ce_id`` of one, that event again."""
    event_id = new_id()
    return Accept(ce_id or str(event_id), event_id, tuple(new_id() for _ in range(runs)))
