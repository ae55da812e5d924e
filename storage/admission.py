"""Admitting runs that have limits: who waits, what is held, and who may go. All of it under one lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Integer, Text

from events import LimitKey
from storage.policies import limits_of
from storage.sql import FEW, typed

# As the predicate of runs_lane_idx has it.
_WAITS: Final = """
    {r}.status = 'queued' AND {r}.lane IS NOT NULL AND {r}.admitted_at IS NULL
    AND ({r}.unique_key IS NULL OR {r}.unique_since IS NOT NULL)
"""
_WAITS_R: Final = _WAITS.format(r="r")

# Whoever counts and whoever admits must be the same at any moment: what is admitted here is not seen there until the
# commit. Nobody waits for the turn: who finds another at it has nothing to do.
_TURN = text("SELECT pg_try_advisory_xact_lock(hashtextextended('throughline.admission', 0))")

# Ordered, so that the planner takes the index: what EXISTS finds at once today it may look for in all of a table later.
_ANYBODY = text(
    f"""
    SELECT (SELECT r.lane FROM runs r WHERE {_WAITS_R} ORDER BY r.lane LIMIT 1) IS NOT NULL AS lanes,
           (SELECT available_at FROM runs
            WHERE status = 'queued' AND unique_key IS NOT NULL AND unique_since IS NULL
            ORDER BY available_at LIMIT 1) IS NOT NULL AS keys
    """  # noqa: S608 - this module's own text
)

# A loose index scan: some probes a lane, however many runs wait there.
_WALK = typed(
    f"""
    WITH RECURSIVE lanes AS (
        (SELECT r.lane, 1 AS place FROM runs r WHERE {_WAITS_R} AND r.lane > :after ORDER BY r.lane LIMIT 1)
        UNION ALL
        SELECT (SELECT r.lane FROM runs r WHERE {_WAITS_R} AND r.lane > l.lane ORDER BY r.lane LIMIT 1), l.place + 1
        FROM lanes l WHERE l.lane IS NOT NULL AND l.place < :most
    )
    SELECT l.lane, head.tenant, head.limits
    FROM lanes l LEFT JOIN LATERAL (
        SELECT r.tenant, r.limits FROM runs r WHERE {_WAITS_R} AND r.lane = l.lane AND r.available_at <= now()
        ORDER BY r.available_at LIMIT 1
    ) AS head ON true
    WHERE l.lane IS NOT NULL ORDER BY l.place
    """,  # noqa: S608 - this module's own text
    after=Text(),
    most=Integer(),
).columns(limits=JSONB)

_DUE = typed(
    f"""
    SELECT a.lane, (
        SELECT count(*) FROM (
            SELECT FROM runs r WHERE {_WAITS_R} AND r.lane = a.lane AND r.available_at <= now()
            ORDER BY r.available_at LIMIT :deep
        ) AS found
    ) AS due
    FROM unnest(:lanes) AS a(lane)
    """,  # noqa: S608 - this module's own text
    lanes=ARRAY(Text),
    deep=Integer(),
)

# A permit that is seen to be good no more is marked in passing, so that nobody looks at it again. It can't become good
# again: a run is admitted anew at another moment.
_STANDING = typed(
    f"""
    WITH asked AS (
        SELECT * FROM unnest(:tenants, :names, :keys, :rates, :pers)
            WITH ORDINALITY AS a(tenant, name, key, rate, per, place)
        WHERE {FEW}
    ), judged AS (
        SELECT p.tenant, p.name, p.key, p.admitted_at, p.run_id, r.good IS NOT NULL AS good
        FROM (SELECT DISTINCT tenant, name, key FROM asked) AS k
        JOIN permits p ON p.tenant = k.tenant AND p.name = k.name AND p.key = k.key AND NOT p.spent
        LEFT JOIN LATERAL (
            SELECT true AS good FROM runs r
            WHERE r.tenant = p.tenant AND r.run_id = p.run_id AND r.admitted_at = p.admitted_at
              AND r.finished_at IS NULL
            LIMIT 1
        ) AS r ON true
    ), marked AS (
        UPDATE permits p SET spent = true FROM judged j
        WHERE NOT j.good AND p.tenant = j.tenant AND p.name = j.name AND p.key = j.key
          AND p.admitted_at = j.admitted_at AND p.run_id = j.run_id
    ), held AS (
        SELECT tenant, name, key, count(*) AS held FROM judged WHERE good GROUP BY tenant, name, key
    )
    SELECT a.place, coalesce(h.held, 0) AS held, started.count AS started
    FROM asked a LEFT JOIN held h ON h.tenant = a.tenant AND h.name = a.name AND h.key = a.key
    CROSS JOIN LATERAL (
        SELECT count(*) AS count FROM (
            SELECT FROM permits p
            WHERE p.tenant = a.tenant AND p.name = a.name AND p.key = a.key
              AND p.admitted_at > now() - make_interval(secs => a.per)
            LIMIT a.rate
        ) AS lately
    ) AS started
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenants=ARRAY(Text),
    names=ARRAY(Text),
    keys=ARRAY(Text),
    rates=ARRAY(Integer),
    pers=ARRAY(Double),
)

# A limit without a concurrency is held by nobody: its permits are there to be counted by the rate alone.
_ADMIT = typed(
    f"""
    WITH allotted AS (
        SELECT * FROM unnest(:lanes, :counts) WITH ORDINALITY AS a(lane, count, place) WHERE {FEW}
    ), wanted AS (
        SELECT w.tenant, w.run_id FROM allotted a CROSS JOIN LATERAL (
            SELECT r.tenant, r.run_id FROM runs r
            WHERE {_WAITS_R} AND r.lane = a.lane AND r.available_at <= now()
              AND (r.expires_at IS NULL OR r.attempt > 0 OR r.expires_at > now())
            ORDER BY r.available_at LIMIT a.count FOR NO KEY UPDATE SKIP LOCKED
        ) AS w
    ), admitted AS (
        UPDATE runs r SET admitted_at = now(), publish_at = now(), published_at = NULL
        FROM wanted w WHERE r.tenant = w.tenant AND r.run_id = w.run_id
        RETURNING r.tenant, r.run_id, r.lane, r.limits
    ), given AS (
        INSERT INTO permits (tenant, name, key, admitted_at, run_id, kept_until, spent)
        SELECT a.tenant, l.name, l.key, now(), a.run_id, now() + make_interval(secs => coalesce(l.per, 0)),
               l.concurrency IS NULL
        FROM admitted a CROSS JOIN LATERAL jsonb_to_recordset(a.limits)
            AS l(name text, key text, concurrency integer, rate integer, per double precision)
    )
    SELECT lane, count(*) AS runs FROM admitted GROUP BY lane
    """,  # noqa: S608 - made of this package's own text; values are parameters
    lanes=ARRAY(Text),
    counts=ARRAY(Integer),
)


class Waiting(NamedTuple):
    """Whether runs wait for permits, and whether some are not yet seen to be the only ones of their key."""

    lanes: bool
    keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Runs of one tenant that want the same permits; ``limits`` is empty where none of them is due."""

    name: str
    tenant: str | None
    limits: tuple[LimitKey, ...]

    @property
    def priority(self) -> int:
        """The priority of its runs."""
        return 9 - int(self.name[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How many permits of a limit's key are held, and how many runs it started within its time (``rate`` at most)."""

    held: int
    started: int


CountedBy = tuple[str | None, LimitKey]
"""A limit's key with its tenant."""


async def take_turn(connection: AsyncConnection) -> bool:
    """Say whether this transaction may admit; False while another relay's does."""
    return bool((await connection.execute(_TURN)).scalar_one())


async def anybody_waiting(connection: AsyncConnection) -> Waiting:
    """Say who waits, due or not: two probes."""
    row = (await connection.execute(_ANYBODY)).one()
    return Waiting(lanes=row.lanes, keys=row.keys)


async def walk_lanes(connection: AsyncConnection, *, after: str, most: int) -> list[Lane]:
    """List up to ``most`` lanes with runs that wait, in the order of their names, from the one ``after`` on."""
    rows = await connection.execute(_WALK, {"after": after, "most": most})
    return [Lane(name=row.lane, tenant=row.tenant, limits=limits_of(row.limits)) for row in rows]


async def due_runs(connection: AsyncConnection, lanes: Sequence[Lane], *, deep: int) -> dict[str, int]:
    """Count the due runs of lanes, by name; each up to ``deep``."""
    rows = await connection.execute(_DUE, {"lanes": [lane.name for lane in lanes], "deep": deep})
    return {row.lane: row.due for row in rows}


async def standing_of(connection: AsyncConnection, asked: Sequence[CountedBy]) -> dict[CountedBy, Standing]:
    """Count what is held of each, and what it started lately. The caller has the turn."""
    rows = await connection.execute(
        _STANDING,
        {
            "tenants": [tenant for tenant, _ in asked],
            "names": [limit.name for _, limit in asked],
            "keys": [limit.key for _, limit in asked],
            "rates": [limit.rate for _, limit in asked],
            "pers": [limit.per for _, limit in asked],
        },
    )
    return {asked[row.place - 1]: Standing(held=row.held, started=row.started) for row in rows}


async def admit(connection: AsyncConnection, allotted: Mapping[str, int]) -> dict[str, int]:
    """Give the oldest due runs of lanes their permits and let them be published; answer how many those were, by lane.

    A run that is locked, or should have begun by now, is passed over. The caller has the turn.
    """
    rows = await connection.execute(_ADMIT, {"lanes": list(allotted), "counts": list(allotted.values())})
    return {row.lane: row.runs for row in rows}
