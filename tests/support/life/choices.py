"""Which operations hypothesis may choose in a state."""

from collections.abc import Callable
from uuid import UUID

from hypothesis.strategies import DataObject, booleans, integers, lists, sampled_from

from events import AttemptOutcome, new_id
from tests.support.life import operations as do
from tests.support.life.operations import LATER, Operation
from tests.support.life.state import Node, Run, State

_NAMES = ("a", "b", "c")
ENDS = tuple(outcome for outcome in AttemptOutcome if outcome is not AttemptOutcome.LOST)


class Choices:
    """Draws operations for one state; what must be legal of a caller is, whatever else it says may be stale."""

    def __init__(self, data: DataObject, state: State, takings: do.Takings, *, of: tuple[UUID, ...] = ()) -> None:
        """Choose in ``state``; ``of``: what is about runs is about these."""
        self._data = data
        self._state = state
        self._takings = takings
        self._of = of

    def any(self) -> Operation:
        """One of all that can be done now."""
        open_to: list[Callable[[], Operation]] = [self.accept, self.take, self.claim, self.put, self.cancel]
        open_to += [self.checkpoint, self.finish, self.replay, self.renew, self.free, self.end_expired]
        open_to += [self.replay_dead, self.remove, self.republish, self.hurry, self.end_lease, self.fold]
        open_to += [self.keep] if self._takings else []
        return self._data.draw(sampled_from(open_to), "operation")()

    def of_runs(self) -> Operation:
        """One that is about runs alone."""
        named = [self.claim, self.put, self.cancel, self.checkpoint, self.finish, self.replay]
        return self._data.draw(sampled_from([*named, *named, self.take, self.free, self.hurry]), "operation")()

    def of_a_run(self, status: str) -> Operation:
        """One of those that meet most often on a run that stands so."""
        queued = [self.claim, self.cancel, self.put, self.take]
        running = [self.finish, self.checkpoint, self.cancel, self.free]
        return self._data.draw(sampled_from(queued if status == "queued" else running), "operation")()

    def accept(self) -> Operation:
        known = sorted(self._state.events)
        again = bool(known) and self._data.draw(integers(0, 3), "sent again") == 0
        ce_id = self._data.draw(sampled_from(known), "event") if again else None
        return do.accept_new(self._data.draw(integers(0, 2), "runs"), ce_id=ce_id)

    def take(self) -> Operation:
        queue = self._data.draw(sampled_from(["default", "default", "cell"]), "queue")
        return do.Take(str(new_id()), queue, self._data.draw(sampled_from([LATER, 0.0]), "lease"))

    def keep(self) -> Operation:
        name = self._data.draw(sampled_from(sorted(self._takings)[-4:]), "taking")
        return do.Keep(name, self._seconds(), self._flag("back"))

    def claim(self) -> Operation:
        return do.Claim(self._lease(), self.runs("queued"))

    def put(self) -> Operation:
        return do.Put(self.runs("queued"), self._data.draw(sampled_from([None, 0.0, LATER]), "deferred by"))

    def checkpoint(self) -> Operation:
        tries = self._tries()
        writes = [(run_id, attempt, self._nodes(attempt, failed=False, least=1)) for run_id, attempt in tries]
        return do.Checkpoint(tuple(writes))

    def finish(self) -> Operation:
        return do.Finish(tuple(self._ending(run_id, attempt) for run_id, attempt in self._tries()))

    def renew(self) -> Operation:
        return do.Renew(self._lease())

    def end_lease(self) -> Operation:
        return do.EndLease(self._lease())

    def end_expired(self) -> Operation:
        return do.EndExpired()

    def free(self) -> Operation:
        ended = tuple(lease_id for lease_id, lease in self._state.leases.items() if lease.stands == "ended")
        return do.Free(ended, died=self._flag("died"), wait=self._flag("wait"))

    def cancel(self) -> Operation:
        return do.Cancel(
            self.runs(self._data.draw(sampled_from(["queued", "running"]), "of")),
            self._data.draw(sampled_from(["enough", "wrong"]), "reason"),
        )

    def replay(self) -> Operation:
        run_id = self._origin()
        run = self._state.runs.get(run_id, Run("none"))
        event_id = self._state.events.get(run.event, new_id())
        kept = self._data.draw(lists(sampled_from(_NAMES), unique=True), "kept")
        return do.Replay(run_id, event_id, new_id(), frozenset(kept))

    def _origin(self) -> UUID:
        """A run to be replayed; often one that was."""
        replayed = sorted({run.replay_of for run in self._state.runs.values() if run.replay_of})
        if replayed and not self._of and self._flag("again"):
            return self._data.draw(sampled_from(replayed), "origin")
        return self.runs(self._data.draw(sampled_from(["failed", "succeeded"]), "of"), most=1)[0]

    def replay_dead(self) -> Operation:
        return do.ReplayDead({run_id: new_id() for run_id in self._state.runs})

    def remove(self) -> Operation:
        return do.Remove()

    def republish(self) -> Operation:
        return do.Republish()

    def hurry(self) -> Operation:
        return do.Hurry()

    def fold(self) -> Operation:
        return do.Fold(self._data.draw(integers(1, 5), "rows"))

    def runs(self, status: str | None = None, *, most: int = 3) -> tuple[UUID, ...]:
        """Some runs, mostly such as stand so, if there are any."""
        if self._of:
            return self._of[:most]
        if not self._state.runs:
            return (new_id(),)
        fitting = [run_id for run_id, run in sorted(self._state.runs.items()) if status in {None, run.status}]
        odd = not fitting or self._data.draw(integers(0, 4), "odd runs") == 0
        chosen = sampled_from(sorted(self._state.runs) if odd else fitting)
        return tuple(self._data.draw(lists(chosen, min_size=1, max_size=most, unique=True), "runs"))

    def _tries(self) -> list[tuple[UUID, int]]:
        """Attempts that are under way, or that were once."""
        tried = [
            (run_id, run.attempt)
            for run_id, run in sorted(self._state.runs.items())
            if run.attempt and (run_id in self._of or not self._of)
        ]
        if not tried:
            return [(new_id(), 1)]
        running = [one for one in tried if self._state.runs[one[0]].status == "running"]
        fresh = bool(running) and self._data.draw(integers(0, 3), "stale") > 0
        again = [one for one in running if one[1] > 1]
        if again and not fresh:
            return [(run_id, attempt - 1) for run_id, attempt in again[:2]]
        chosen = lists(sampled_from(running if fresh else tried), min_size=1, max_size=2, unique=True)
        found = self._data.draw(chosen, "attempts")
        back = 0 if fresh else self._data.draw(integers(0, 2), "attempts ago")
        return [(run_id, max(1, attempt - back)) for run_id, attempt in found]

    def _ending(self, run_id: UUID, attempt: int) -> do.Ending:
        outcome = self._data.draw(sampled_from(ENDS), "outcome")
        failed = outcome in {AttemptOutcome.RETRIED, AttemptOutcome.FAILED}
        return do.Ending(
            run_id=run_id,
            attempt=attempt,
            outcome=outcome,
            delay=self._seconds(),
            nodes=self._nodes(attempt, failed=failed),
        )

    def _nodes(self, attempt: int, *, failed: bool, least: int = 0) -> dict[str, Node]:
        names = self._data.draw(lists(sampled_from(_NAMES), unique=True, min_size=least, max_size=2), "nodes")
        words = ["succeeded", "succeeded", "skipped", *["failed"] * (2 * failed)]
        return {name: (self._data.draw(sampled_from(words), "status"), attempt, attempt) for name in names}

    def _lease(self) -> UUID:
        live = [lease_id for lease_id, lease in sorted(self._state.leases.items()) if lease.stands == "live"]
        if live and self._data.draw(integers(0, 3), "odd lease") > 0:
            return self._data.draw(sampled_from(live), "lease")
        return self._data.draw(sampled_from([*sorted(self._state.leases), new_id()]), "lease")

    def _seconds(self) -> float:
        return self._data.draw(sampled_from([0.0, 0.0, LATER]), "seconds")

    def _flag(self, name: str) -> bool:
        return self._data.draw(booleans(), name)
