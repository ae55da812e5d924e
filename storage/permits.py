"""The permits that admitted runs hold: cleared away, counted for the gauges, and shown to who asks about a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Integer, Text

from events import LimitKey
from storage.sql import FEW, typed

Key = tuple[str, str, str]
"""``(tenant, name, key)`` of a limit."""

# A loose index scan: a probe a key, however many permits it has.
_KEYS = typed(
    """
    WITH RECURSIVE keys AS (
        (SELECT tenant, name, key, 1 AS place FROM permits
         WHERE NOT spent AND (tenant, name, key) > (:tenant, :name, :key) ORDER BY tenant, name, key LIMIT 1)
        UNION ALL
        SELECT n.tenant, n.name, n.key, k.place + 1 FROM keys k CROSS JOIN LATERAL (
            SELECT p.tenant, p.name, p.key FROM permits p
            WHERE NOT p.spent AND (p.tenant, p.name, p.key) > (k.tenant, k.name, k.key)
            ORDER BY p.tenant, p.name, p.key LIMIT 1
        ) AS n WHERE k.place < :most
    )
    SELECT tenant, name, key FROM keys ORDER BY place
    """,
    tenant=Text(),
    name=Text(),
    key=Text(),
    most=Integer(),
)

_REMOVE = typed(
    """
    WITH old AS (
        SELECT tenant, name, key, admitted_at, run_id FROM permits
        WHERE spent AND kept_until < now() ORDER BY kept_until LIMIT :most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM permits p USING old o
    WHERE p.tenant = o.tenant AND p.name = o.name AND p.key = o.key AND p.admitted_at = o.admitted_at
      AND p.run_id = o.run_id
    """,
    most=Integer(),
)

# As the predicate of runs_lane_idx has it.
_WAITING: Final = """
    r.status = 'queued' AND r.lane IS NOT NULL AND r.admitted_at IS NULL
    AND (r.unique_key IS NULL OR r.unique_since IS NOT NULL)
"""

_STATES = typed(
    f"""
    WITH lanes AS (
        SELECT r.lane, count(*) AS runs FROM runs r WHERE {_WAITING} AND r.available_at <= now() GROUP BY r.lane
    ), waiting AS (
        SELECT l.name, sum(lanes.runs)::bigint AS runs FROM lanes
        CROSS JOIN LATERAL (SELECT r.limits FROM runs r WHERE {_WAITING} AND r.lane = lanes.lane LIMIT 1) AS head
        CROSS JOIN LATERAL jsonb_to_recordset(head.limits) AS l(name text) GROUP BY l.name
    ), held AS (
        SELECT p.name, count(*) AS permits FROM permits p CROSS JOIN LATERAL (
            SELECT FROM runs r
            WHERE r.tenant = p.tenant AND r.run_id = p.run_id AND r.admitted_at = p.admitted_at
              AND r.finished_at IS NULL
            LIMIT 1
        ) AS r WHERE NOT p.spent GROUP BY p.name
    )
    SELECT name, coalesce(waiting.runs, 0) AS waiting, coalesce(held.permits, 0) AS held
    FROM waiting FULL JOIN held USING (name)
    """  # noqa: S608 - this module's own text
)

_SHOWN = typed(
    f"""
    SELECT a.place, (
        SELECT count(*) FROM permits p CROSS JOIN LATERAL (
            SELECT FROM runs r
            WHERE r.tenant = p.tenant AND r.run_id = p.run_id AND r.admitted_at = p.admitted_at
              AND r.finished_at IS NULL
            LIMIT 1
        ) AS r
        WHERE p.tenant = :tenant AND p.name = a.name AND p.key = a.key AND NOT p.spent
    ) AS held, (
        SELECT count(*) FROM permits p
        WHERE p.tenant = :tenant AND p.name = a.name AND p.key = a.key
          AND p.admitted_at > now() - make_interval(secs => a.per)
    ) AS started
    FROM unnest(:names, :keys, :pers) WITH ORDINALITY AS a(name, key, per, place) WHERE {FEW}
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenant=Text(),
    names=ARRAY(Text),
    keys=ARRAY(Text),
    pers=ARRAY(Double),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """A limit over all its keys: due runs that wait for its permits, and permits that are held."""

    name: str
    waiting: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLimit:
    """A limit as it stands now: permits that are ``held``, and runs ``started`` within its time."""

    limit: LimitKey
    held: int
    started: int

    @property
    def is_full(self) -> bool:
        """Whether it admits nobody now."""
        limit = self.limit
        return (limit.concurrency is not None and self.held >= limit.concurrency) or (
            limit.rate is not None and self.started >= limit.rate
        )


async def held_keys(connection: AsyncConnection, *, after: Key, most: int) -> list[Key]:
    """List up to ``most`` limits with permits that are not marked spent, in their order, from the one ``after`` on."""
    tenant, name, key = after
    rows = await connection.execute(_KEYS, {"tenant": tenant, "name": name, "key": key, "most": most})
    return [(row.tenant, row.name, row.key) for row in rows]


async def remove_permits(connection: AsyncConnection, *, most: int) -> int:
    """Remove up to ``most`` spent permits that no rate counts any more; return how many that were."""
    return (await connection.execute(_REMOVE, {"most": most})).rowcount


async def limit_states(connection: AsyncConnection) -> list[LimitState]:
    """Tell where each limit stands that somebody waits for or holds."""
    rows = await connection.execute(_STATES)
    return [LimitState(name=row.name, waiting=row.waiting, held=row.held) for row in rows]


async def show_limits(
    connection: AsyncConnection, *, tenant: str, limits: Sequence[LimitKey]
) -> tuple[ShownLimit, ...]:
    """Tell how the limits of a run stand."""
    rows = await connection.execute(
        _SHOWN,
        {
            "tenant": tenant,
            "names": [limit.name for limit in limits],
            "keys": [limit.key for limit in limits],
            "pers": [limit.per for limit in limits],
        },
    )
    found = {row.place: row for row in rows}
    return tuple(
        ShownLimit(limit=limit, held=found[place].held, started=found[place].started)
        for place, limit in enumerate(limits, start=1)
    )
