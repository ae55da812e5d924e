import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from events import LimitKey
from observability.logs import get_logger
from observability.metrics import Metrics
from observability.tracing import trace_id_of
from storage import admission, permits, uniqueness
from storage.admission import Lane
from storage.bounded import Connection
from storage.uniqueness import Superseded
from worker.relay.allotting import Room, allot
from worker.relay.backoff import Backoff
from worker.relay.database import Database

_MOST_RUNS: Final = 500
_MOST_LANES: Final = 500
_MOST_KEYS: Final = 500
_SHORTEST: Final = 0.02
_LONGEST: Final = 0.25
_SHARE: Final = 4.0
_PAUSE_LONGEST: Final = 0.06
_SWEEP_SECONDS: Final = 5.0
_SWEEP_KEYS: Final = 1000
_SWEEP_ROWS: Final = 5000
_FIRST_KEY: Final = ("", "", "")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass came to. ``published``: runs that may be published since; ``more``: it left some that may go."""

    published: int = 0
    more: bool = False


class Admission:
    """Lets runs go that wait for permits, or for the only place of their key.

    Any number of relays may have one: at any moment one of them counts and admits, under a lock in PostgreSQL. A pass
    looks at so many lanes at most, and the next goes on behind the last that had its turn; a lane's backlog costs
    nothing. While somebody waits it looks often, since nobody tells it when a permit comes free; otherwise a pass is
    two probes of an index.
    """

    def __init__(self, *, database: Database, metrics: Metrics, idle: float) -> None:
        self._database = database
        self._metrics = metrics
        self._idle = idle
        self._pace = Backoff(first=_SHORTEST, longest=_LONGEST)
        self._after = ""
        self._swept = 0.0
        self._swept_to = _FIRST_KEY

    async def run_once(self) -> tuple[int, float]:
        """Do one pass, and pause so that passes take a fifth of the time.

        Return how many runs may be published since, and in how many seconds to look again if nobody calls.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        began = time.monotonic()
        await self._sweep()
        async with self._database.reading() as connection:
            waiting = await admission.anybody_waiting(connection)
        done = await self._pass(waiting) if waiting.lanes or waiting.keys else None
        if done is None or done.published or done.more:
            self._pace.succeeded()
        await asyncio.sleep(min(_PAUSE_LONGEST, (time.monotonic() - began) * _SHARE))
        if done is None:
            return 0, self._idle
        return done.published, 0.0 if done.more else self._pace.failed()

    async def _pass(self, waiting: admission.Waiting) -> Pass:
        async with self._database.transaction() as connection:
            if not await admission.take_turn(connection):
                return Pass()
            keys = await self._settle(connection) if waiting.keys else uniqueness.Settled(looked_at=0, superseded=())
            lanes, everyone = await self._walk(connection)
            admitted = await self._admit(connection, lanes)
        if not everyone:
            self._after = lanes[-1].name
        self._tell(lanes, admitted, keys.superseded)
        runs, let_through = sum(admitted.values()), keys.looked_at - len(keys.superseded)
        return Pass(
            published=runs + let_through,
            more=not everyone or runs >= _MOST_RUNS or keys.looked_at >= _MOST_KEYS,
        )

    @staticmethod
    async def _settle(connection: Connection) -> uniqueness.Settled:
        return await uniqueness.settle_keys(connection, most=_MOST_KEYS)

    async def _walk(self, connection: Connection) -> tuple[list[Lane], bool]:
        """Return the lanes whose turn it is, and whether those are all."""
        behind = await admission.walk_lanes(connection, after=self._after, most=_MOST_LANES)
        if len(behind) == _MOST_LANES:
            return behind, False
        if not self._after:
            return behind, True
        first = await admission.walk_lanes(connection, after="", most=_MOST_LANES - len(behind))
        seen = {lane.name for lane in behind}
        before = [lane for lane in first if lane.name not in seen]
        everyone = len(first) < _MOST_LANES - len(behind) or len(before) < len(first)
        return behind + before, everyone

    async def _admit(self, connection: Connection, lanes: Sequence[Lane]) -> dict[str, int]:
        due = [lane for lane in lanes if lane.limits]
        if not due:
            return {}
        asked = list(dict.fromkeys((lane.tenant, limit) for lane in due for limit in lane.limits))
        room = Room(await admission.standing_of(connection, asked))
        able = [lane for lane in due if room.has(lane)]
        if not able:
            return {}
        counts = await admission.due_runs(connection, able, deep=_MOST_RUNS // len(able) + 1)
        allotted = allot(able, counts, room, most=_MOST_RUNS)
        if not allotted:
            return {}
        self._after = allotted[-1]
        return await admission.admit(connection, Counter(allotted))

    def _tell(self, lanes: Sequence[Lane], admitted: dict[str, int], superseded: Sequence[Superseded]) -> None:
        counts: Counter[str] = Counter()
        for lane in lanes:
            for limit in lane.limits:
                counts[limit.name] += admitted.get(lane.name, 0)
        for name, runs in counts.items():
            self._metrics.limit_admissions.labels(limit=name).inc(runs)
        for run in superseded:
            self._metrics.superseded_runs.labels(pipeline=run.pipeline).inc()
            _log.info(
                "run superseded",
                run_id=str(run.run_id),
                event_id=str(run.event_id),
                pipeline=run.pipeline,
                tenant=run.tenant,
                by=str(run.other),
                trace_id=trace_id_of(run.traceparent),
            )

    async def _sweep(self) -> None:
        """Mark permits that nobody has asked for since they were given back, and remove those that are not counted.

        Where that is more than is done at once the next pass goes on.
        """
        if self._swept and time.monotonic() - self._swept < _SWEEP_SECONDS:
            return
        async with self._database.transaction() as connection:
            keys = await permits.held_keys(connection, after=self._swept_to, most=_SWEEP_KEYS)
            if keys and await admission.take_turn(connection):
                asked = [(tenant, LimitKey(name=name, key=key)) for tenant, name, key in keys]
                await admission.standing_of(connection, asked)
        self._swept_to = keys[-1] if len(keys) == _SWEEP_KEYS else _FIRST_KEY
        async with self._database.transaction() as connection:
            removed = await permits.remove_permits(connection, most=_SWEEP_ROWS)
        is_done = self._swept_to == _FIRST_KEY and removed < _SWEEP_ROWS
        self._swept = time.monotonic() if is_done else 0.0
