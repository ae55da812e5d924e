import time
from collections.abc import Collection, Iterable
from typing import Final

from observability.metrics import Metrics, PutOff, QueueState
from storage import matching, permits, standing
from storage.records import QueueState as QueueCounts
from worker.relay.database import Database

_SECONDS: Final = 5.0
_SHARE: Final = 20.0


class Gauges:
    """What PostgreSQL tells of the queues, counted now and then and not when somebody scrapes."""

    def __init__(self, *, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._queues: set[str] = set()

    @property
    def queues(self) -> Collection[str]:
        """The queues that PostgreSQL has told of so far."""
        return self._queues

    async def run_once(self) -> float:
        """Count once; return in how many seconds to count again, so that counting takes a twentieth of the time.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        began = time.monotonic()
        async with self._database.reading() as connection:
            states = await standing.queue_states(connection)
            dead, unrouted = await standing.standing_counts(connection)
            limits = await permits.limit_states(connection)
            unmatched = await matching.oldest_age(connection)
        took = time.monotonic() - began
        self._show(states)
        self._show_limits(limits)
        self._queues.update(state.queue for state in states)
        self._metrics.dead_runs.labels().set(dead)
        self._metrics.unrouted_events.labels().set(unrouted)
        self._metrics.match_oldest_age.labels().set(unmatched)
        return max(_SECONDS, took * _SHARE)

    def _show(self, states: Iterable[QueueCounts]) -> None:
        depth, age = self._metrics.queue_depth, self._metrics.queue_oldest_age
        put_off = self._metrics.suspended_runs
        depth.clear()
        age.clear()
        put_off.clear()
        for state in states:
            depth.labels(queue=state.queue, state=QueueState.DUE).set(state.due)
            depth.labels(queue=state.queue, state=QueueState.LIMITED).set(state.limited)
            depth.labels(queue=state.queue, state=QueueState.LATER).set(state.delayed)
            depth.labels(queue=state.queue, state=QueueState.SENT).set(state.published)
            depth.labels(queue=state.queue, state=QueueState.RUNNING).set(state.running)
            age.labels(queue=state.queue, state=QueueState.DUE).set(state.oldest_age)
            put_off.labels(queue=state.queue, reason=PutOff.WAITING).set(state.waiting)
            put_off.labels(queue=state.queue, reason=PutOff.SLEEPING).set(state.sleeping)

    def _show_limits(self, states: Iterable[permits.LimitState]) -> None:
        waiting, held = self._metrics.limit_waiting_runs, self._metrics.limit_permits_held
        waiting.clear()
        held.clear()
        for state in states:
            waiting.labels(limit=state.name).set(state.waiting)
            held.labels(limit=state.name).set(state.held)
