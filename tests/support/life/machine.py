"""A state machine over the lives of runs: whatever happens, storage and the model agree, and nothing is impossible."""

import asyncio
import copy
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sqlalchemy.ext.asyncio import AsyncEngine

from events import AttemptOutcome, RunStatus, may_move, new_id
from storage import retention
from storage.engine import DatabaseUnavailable, transaction
from tests.support.life import operations as do
from tests.support.life.choices import ENDS, Choices
from tests.support.life.looks import Look, change, faults, look
from tests.support.life.operations import Answer, Operation, Takings
from tests.support.life.race import Raced, candidates, race
from tests.support.life.state import State

ResultT = TypeVar("ResultT")

_EXPIRE = "UPDATE worker_leases SET expires_at = now() - interval '1 s' WHERE lease_id = :lease_id AND ended_at IS NULL"
_COME_DUE = """
    UPDATE runs SET available_at = least(available_at, now()), publish_at = least(publish_at, now())
    WHERE status = 'queued'
"""
_AGE = """
    UPDATE runs SET created_at = created_at - interval '40 days', started_at = started_at - interval '40 days',
                    finished_at = finished_at - interval '40 days'
    WHERE finished_at IS NOT NULL AND event_id = :event_id
"""
_AGE_LEASES = """
    UPDATE worker_leases l SET ended_at = ended_at - interval '40 days'
    WHERE ended_at IS NOT NULL AND NOT EXISTS (SELECT FROM runs r WHERE r.lease_id = l.lease_id)
"""


class World:
    """One database for many lives, one after the other; ``seen`` counts what happened in them."""

    def __init__(self, engine: AsyncEngine, runner: asyncio.Runner) -> None:
        self._engine = engine
        self._runner = runner
        self.takings: Takings = {}
        self.seen: Counter[str] = Counter()

    def begin(self) -> None:
        """Forget everything."""
        self.takings = {}
        self.change("TRUNCATE events, runs, attempts, node_results, waits, event_keys, worker_leases, run_deltas")

    def change(self, statement: str, **values: object) -> None:
        async def changing() -> None:
            async with transaction(self._engine) as connection:
                await change(connection, statement, **values)

        self.run(changing())

    def perform(self, operation: Operation) -> Answer:
        async def performing() -> Answer:
            async with transaction(self._engine) as connection:
                return await operation.perform(connection, self.takings)

        return self.run(performing())

    def race(self, first: Operation, second: Operation) -> tuple[Answer, Answer]:
        return self.run(race(self._engine, self.takings, first, second))

    def forget_leases(self) -> None:
        async def forgetting() -> None:
            async with transaction(self._engine) as connection:
                await change(connection, _AGE_LEASES)
                await retention.remove_leases(connection, age=do.OLD, most=do.MANY)

        self.run(forgetting())

    def look(self) -> tuple[Look, list[str]]:
        async def looking() -> tuple[Look, list[str]]:
            async with transaction(self._engine) as connection:
                return await look(connection, self.takings), await faults(connection)

        return self.run(looking())

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self._runner.run(work)


class Life(RuleBasedStateMachine):
    """What processes do to runs, one after the other; time passes only where a rule lets it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._state = State()
        self._last = Look(State(), {})
        world.begin()
        self._do(do.accept_new(2))
        self._do(do.OpenLease(new_id(), cell=False))
        self._do(do.OpenLease(new_id(), cell=True))

    @rule(data=st.data())
    def anything(self, data: st.DataObject) -> None:
        self._do(self._choices(data).any())

    @rule(data=st.data())
    def a_worker_claims(self, data: st.DataObject) -> None:
        self._do(self._choices(data).claim())
        self._do(self._choices(data).checkpoint())

    @rule(data=st.data())
    def a_worker_ends_attempts(self, data: st.DataObject) -> None:
        self._do(self._choices(data).finish())

    @precondition(lambda self: all(run.final for run in self._state.runs.values()))
    @rule()
    def an_event_comes(self) -> None:
        self._do(do.accept_new(2))

    @rule(data=st.data())
    def somebody_replays(self, data: st.DataObject) -> None:
        self._do(data.draw(st.sampled_from([self._choices(data).replay, self._choices(data).replay_dead]), "what")())

    @rule(data=st.data(), cell=st.booleans(), died=st.booleans())
    def a_worker_goes_with_its_runs(self, data: st.DataObject, cell: bool, died: bool) -> None:
        """A process boots, claims and dies, and a relay finds it; or it stops by itself."""
        lease_id = new_id()
        self._do(do.OpenLease(lease_id, cell))
        self._do(do.Claim(lease_id, self._choices(data).runs("queued")))
        if died:
            self._expire(lease_id)
            self._do(do.EndExpired())
        else:
            self._do(do.EndLease(lease_id))
        self._do(do.Free((lease_id,), died=died))

    @rule(data=st.data(), outcome=st.sampled_from(ENDS))
    def a_worker_taken_for_dead_comes_back(self, data: st.DataObject, outcome: AttemptOutcome) -> None:
        """Another holds its runs by then: what it still says of them must change nothing."""
        gone, heir = new_id(), new_id()
        self._do(do.OpenLease(gone, cell=True))
        self._do(do.Claim(gone, self._choices(data).runs("queued")))
        held = [(run_id, run.attempt) for run_id, run in self._state.runs.items() if run.lease == gone]
        self._expire(gone)
        self._do(do.EndExpired())
        self._do(do.Free((gone,), died=True))
        self._do(do.OpenLease(heir, cell=True))
        self._do(do.Claim(heir, tuple(run_id for run_id, _ in held)))
        self._do(do.Renew(gone))
        stale = [(run_id, attempt, {"a": ("succeeded", attempt, attempt)}) for run_id, attempt in held]
        self._do(do.Checkpoint(tuple(stale)))
        self._do(do.Finish(tuple(do.Ending(run_id=run, attempt=n, outcome=outcome) for run, n in held)))

    @precondition(lambda self: self._state.events)
    @rule(data=st.data(), outcome=st.sampled_from(ENDS))
    def everything_of_an_event_ends(self, data: st.DataObject, outcome: AttemptOutcome) -> None:
        """The runs of an event that can be claimed are, and end."""
        event = data.draw(st.sampled_from(sorted(self._state.events)), "event")
        lease_id = new_id()
        self._do(do.OpenLease(lease_id, cell=True))
        self._do(do.Claim(lease_id, tuple(self._state.of_event(event))))
        held = [(run_id, run.attempt) for run_id, run in self._state.runs.items() if run.lease == lease_id]
        endings = [do.Ending(run_id=run_id, attempt=attempt, outcome=outcome) for run_id, attempt in held]
        self._do(do.Finish(tuple(endings)))

    @precondition(lambda self: self._state.leases)
    @rule(data=st.data())
    def a_lease_is_not_renewed(self, data: st.DataObject) -> None:
        self._expire(data.draw(st.sampled_from(sorted(self._state.leases)), "lease"))

    @rule()
    def what_was_put_off_comes_due(self) -> None:
        self._world.change(_COME_DUE)
        for run in self._state.runs.values():
            if run.status == "queued":
                run.due = run.publishable = True
        self._agree()

    @precondition(lambda self: self._state.events)
    @rule(data=st.data())
    def an_event_grows_old(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(sorted(self._state.events)), "event")
        self._world.change(_AGE, event_id=self._state.events[event])
        aged = [run_id for run_id in self._state.of_event(event) if self._state.runs[run_id].final]
        for run_id in aged:
            self._state.runs[run_id].old = True
        self._agree(aged=frozenset(aged))

    @rule()
    def old_leases_are_removed(self) -> None:
        self._world.forget_leases()
        used = {run.lease for run in self._state.runs.values()}
        for lease_id, lease in list(self._state.leases.items()):
            if lease.stands == "ended" and lease_id not in used:
                del self._state.leases[lease_id]
        self._agree()

    def _choices(self, data: st.DataObject) -> Choices:
        return Choices(data, self._state, self._world.takings)

    def _expire(self, lease_id: UUID) -> None:
        self._world.change(_EXPIRE, lease_id=lease_id)
        if self._state.leases[lease_id].stands == "live":
            self._state.leases[lease_id].stands = "expired"
        self._agree()

    def _do(self, operation: Operation) -> None:
        self._world.seen["steps"] += 1
        expected = operation.predict(self._state)
        answer = self._world.perform(operation)
        assert answer == expected, operation
        before = self._last.rows
        self._agree()
        self._world.seen[f"{type(operation).__name__}: {'something' if answer else 'nothing'}"] += 1
        if operation.fenced and not answer:
            assert self._last.rows == before, f"{operation} changed something and answered nothing"

    def _agree(self, *, aged: frozenset[UUID] = frozenset()) -> None:
        """See that everything is as the model says, and that nothing happened which never may."""
        now, found = self._world.look()
        assert now.state == self._state
        assert not found
        for run_id in now.rows.keys() & self._last.rows.keys():
            self._may_follow(run_id, now, aged=run_id in aged)
        self._last = Look(copy.deepcopy(now.state), now.rows)

    def _may_follow(self, run_id: UUID, now: Look, *, aged: bool) -> None:
        was, is_ = self._last.state.runs[run_id], now.state.runs[run_id]
        if was.final and not aged:
            assert now.rows[run_id] == self._last.rows[run_id], "a run that had ended was changed"
        if was.status != is_.status:
            assert may_move(RunStatus(was.status), RunStatus(is_.status))
            self._world.seen[f"{was.status} -> {is_.status} {is_.reason or is_.kind or ''}".strip()] += 1
        assert was.attempt <= is_.attempt <= was.attempt + 1
        assert was.errors <= is_.errors
        assert was.deaths <= is_.deaths
        assert is_.cell_deaths <= is_.deaths
        assert (is_.kind == "poisoned") <= (is_.cell_deaths >= do.CELL.deaths)
        done = self._last.rows[run_id].done
        assert done.items() <= now.rows[run_id].done.items(), "a node that is done was written again"


class RacingLives(Life):
    """The same, and two operations at a time on two connections."""

    @rule(data=st.data())
    def two_at_once(self, data: st.DataObject) -> None:
        self._race(self._choices(data).any(), self._choices(data).any())

    @rule(data=st.data())
    def two_of_the_same_runs_at_once(self, data: st.DataObject) -> None:
        of = self._choices(data).runs(data.draw(st.sampled_from(["queued", "running", "failed"]), "of"), most=2)
        choices = Choices(data, self._state, self._world.takings, of=of)
        self._race(choices.of_runs(), choices.of_runs())

    @rule(data=st.data())
    def one_waits_for_another_of_the_same_run(self, data: st.DataObject) -> None:
        """As above, and the more often: it is what this machine is for."""
        status = data.draw(st.sampled_from(["queued", "running"]), "of")
        choices = Choices(data, self._state, self._world.takings, of=self._choices(data).runs(status, most=1))
        self._race(choices.of_a_run(status), choices.of_a_run(status))

    def _race(self, first: Operation, second: Operation) -> None:
        may_be = candidates(self._state, first, second)
        try:
            answers = self._world.race(first, second)
        except DatabaseUnavailable as error:
            raise AssertionError(f"{first} and {second} did not go together: {error.__cause__}") from error
        now, _ = self._world.look()
        raced = Raced.of(now.state, *answers)
        assert raced.is_one_of(may_be), f"no order of {first} and {second} leads to {raced}"
        whole = any(raced == one for one in may_be)
        self._world.seen[f"raced: {'in one order' if whole else 'run by run'}"] += 1
        self._state = copy.deepcopy(now.state)
        self._agree()
