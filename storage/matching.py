"""What the relay asks to bring waits and events together.

Each wait and each key is looked at once, after its own commit: of two that commit at the same moment the one that is
looked at later meets the other. Whoever looks holds the turn, so that no two relays look at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer

from storage.awaited import FIRST, NOT_USED, Kind
from storage.sql import FEW, typed

_TURN = text("SELECT pg_try_advisory_xact_lock(hashtextextended('throughline.match', 0))")

_NEW: Final = "SELECT tenant, run_id, node, type, path FROM waits WHERE type IS NOT NULL AND NOT probed"

# By the order of the indexes: a planner that knows nothing yet takes half of all rows to be new.
_OLDEST_WAIT: Final = "SELECT began_at FROM waits WHERE type IS NOT NULL AND NOT probed ORDER BY began_at LIMIT 1"
_OLDEST_KEY: Final = "SELECT received_at FROM event_keys WHERE NOT probed ORDER BY received_at LIMIT 1"

_ANY = text(f"SELECT coalesce(({_OLDEST_WAIT}), ({_OLDEST_KEY})) IS NOT NULL")

_KINDS = typed(
    f"""
    SELECT n.tenant, n.type, n.path, min(o.received_at) AS since
    FROM (SELECT w.*, row_number() OVER () AS place FROM ({_NEW} ORDER BY began_at LIMIT :most) w) n
    JOIN runs r ON r.tenant = n.tenant AND r.run_id = n.run_id
    JOIN events o ON o.tenant = r.tenant AND o.event_id = r.event_id
    WHERE {FEW}
    GROUP BY n.tenant, n.type, n.path
    """,  # noqa: S608 - made of this package's own text; values are parameters
    most=Integer(),
)

# Where a key has more waits than are taken at once it is looked at again. Runs are locked before their waits, in the
# order of their ids, as a finish does it. The status to be found comes from a row: see storage.claims.
_MATCH = typed(
    f"""
    WITH new_waits AS (
        SELECT n.tenant, n.run_id, n.node, 'queued' AS sought FROM ({_NEW} ORDER BY began_at LIMIT :most) n
    ), new_keys AS (
        SELECT tenant, event_id, type, path, key, received_at, 'queued' AS sought FROM event_keys
        WHERE NOT probed ORDER BY received_at, event_id LIMIT :most
    ), hit AS (
        SELECT h.tenant, h.run_id, h.node, h.sought
        FROM new_keys k CROSS JOIN LATERAL (
            SELECT w.tenant, w.run_id, w.node, k.sought FROM waits w
            JOIN runs r ON r.tenant = w.tenant AND r.run_id = w.run_id
            JOIN events o ON o.tenant = r.tenant AND o.event_id = r.event_id
            WHERE w.tenant = k.tenant AND w.type = k.type AND w.path = k.path AND w.key = k.key
              AND w.ended_at IS NULL AND k.received_at <= w.until
              AND r.status = k.sought AND r.reason = 'waiting'
              AND (k.received_at, k.event_id) > (o.received_at, o.event_id) AND {NOT_USED.format(w="w")}
            LIMIT :most
        ) h
        LIMIT :most
    ), held AS (
        SELECT w.tenant, w.run_id, w.node, w.type, w.path, w.key, w.until, w.began_at, o.received_at AS since,
               o.event_id AS own_event_id
        FROM (
            SELECT u.*, row_number() OVER () AS place FROM (SELECT * FROM new_waits UNION SELECT * FROM hit) u
        ) c
        CROSS JOIN LATERAL (
            SELECT w.* FROM waits w
            WHERE w.tenant = c.tenant AND w.run_id = c.run_id AND w.node = c.node AND w.ended_at IS NULL LIMIT 1
        ) w
        JOIN runs r ON r.tenant = w.tenant AND r.run_id = w.run_id
        JOIN events o ON o.tenant = r.tenant AND o.event_id = r.event_id
        WHERE {FEW} AND r.status = c.sought AND r.reason = 'waiting'
        ORDER BY r.run_id FOR NO KEY UPDATE OF r
    ), found AS (
        SELECT h.tenant, h.run_id, h.node, f.event_id, greatest(h.began_at, f.received_at) AS together_since
        FROM held h CROSS JOIN LATERAL ({FIRST.format(w="h")}) f
    ), due AS (
        UPDATE runs r
        SET available_at = now(), publish_at = CASE WHEN r.lane IS NULL THEN now() ELSE r.publish_at END
        FROM found f WHERE r.tenant = f.tenant AND r.run_id = f.run_id AND r.available_at > now()
    ), looked_at AS (
        UPDATE waits w
        SET probed = true, matched_event_id = t.event_id, ended_at = CASE WHEN t.event_id IS NOT NULL THEN now() END
        FROM (
            SELECT u.*, row_number() OVER () AS place FROM (
                SELECT tenant, run_id, node, event_id, together_since FROM found
                UNION ALL
                SELECT n.tenant, n.run_id, n.node, NULL, NULL FROM new_waits n WHERE NOT EXISTS (
                    SELECT FROM found f WHERE f.tenant = n.tenant AND f.run_id = n.run_id AND f.node = n.node
                )
            ) u
        ) t
        WHERE {FEW} AND w.tenant = t.tenant AND w.run_id = t.run_id AND w.node = t.node AND w.ended_at IS NULL
        RETURNING w.run_id, t.event_id, extract(epoch FROM clock_timestamp() - t.together_since)::float8 AS delay
    ), spent_keys AS (
        UPDATE event_keys k SET probed = true FROM (SELECT *, row_number() OVER () AS place FROM new_keys) n
        WHERE {FEW} AND k.tenant = n.tenant AND k.event_id = n.event_id AND k.path = n.path
          AND (SELECT count(*) FROM hit) < :most
    )
    SELECT (SELECT count(*) FROM new_waits) AS waits, (SELECT count(*) FROM new_keys) AS keys,
           m.run_ids, m.event_ids, m.delays
    FROM (
        SELECT array_agg(run_id) AS run_ids, array_agg(event_id) AS event_ids, array_agg(delay) AS delays
        FROM looked_at WHERE event_id IS NOT NULL
    ) m
    """,  # noqa: S608 - made of this package's own text; values are parameters
    most=Integer(),
)

_OLDEST = text(
    f"SELECT coalesce(extract(epoch FROM now() - least(({_OLDEST_WAIT}), ({_OLDEST_KEY}))), 0)::float8"  # noqa: S608
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A wait that an event has ended; ``delay``: seconds since both were there."""

    run_id: UUID
    event_id: UUID
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What one look has ended, and whether there may be ``more`` to look at."""

    matches: tuple[Match, ...]
    more: bool


async def is_anything_new(connection: AsyncConnection) -> bool:
    """Say whether there are waits or keys that nobody has looked at: two probes of small indexes."""
    return bool((await connection.execute(_ANY)).scalar_one())


async def take_turn(connection: AsyncConnection) -> bool:
    """Say whether this transaction may look; False while another relay's does."""
    return bool((await connection.execute(_TURN)).scalar_one())


async def new_kinds(connection: AsyncConnection, *, most: int) -> list[tuple[Kind, datetime]]:
    """Tell what the waits that ``match`` will look at are for, and since when their runs could have met it."""
    rows = await connection.execute(_KINDS, {"most": most})
    return [(Kind(row.tenant, row.type, row.path), row.since) for row in rows]


async def match(connection: AsyncConnection, *, most: int) -> Looked:
    """Look at up to ``most`` new waits and as many new keys, the oldest; runs whose wait ends are due at once.

    The caller has the turn.
    """
    row = (await connection.execute(_MATCH, {"most": most})).one()
    found: Sequence[tuple[UUID, UUID, float]] = list(
        zip(row.run_ids or (), row.event_ids or (), row.delays or (), strict=True)
    )
    return Looked(
        matches=tuple(Match(run_id=run, event_id=event, delay=max(delay, 0.0)) for run, event, delay in found),
        more=max(row.waits, row.keys, len(found)) >= most,
    )


async def oldest_age(connection: AsyncConnection) -> float:
    """Tell for how many seconds the oldest wait or key has been there that nobody has looked at; 0 without any."""
    return float((await connection.execute(_OLDEST)).scalar_one())
