"""Which event a wait is for: the oldest of its type and key that came after the run's own event, and in time.

It is found by the keys that the API stores with events whose type some pipeline waits for.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime, Text

from storage.sql import typed

NOT_USED: Final = """
    NOT EXISTS (
        SELECT FROM waits u WHERE u.tenant = {w}.tenant AND u.run_id = {w}.run_id
          AND u.matched_event_id IS NOT DISTINCT FROM k.event_id
    )
"""
"""That no wait of the same run was ended by the event of key ``k``: it goes by the run."""

FIRST: Final = f"""
    SELECT k.event_id, k.received_at FROM event_keys k
    WHERE k.tenant = {{w}}.tenant AND k.type = {{w}}.type AND k.path = {{w}}.path AND k.key = {{w}}.key
      AND (k.received_at, k.event_id) > ({{w}}.since, {{w}}.own_event_id) AND k.received_at <= {{w}}.until
      AND {NOT_USED}
    ORDER BY k.received_at, k.event_id LIMIT 1
"""  # noqa: S608 - this module's own text
"""The event that ends wait ``{w}``, of a run whose own event ``own_event_id`` came at ``since``."""

# The ids of a type are walked from an hour before on: they rise with the clocks of those that gave them. An event that
# is being removed is left out.
_STORE_MISSING = typed(
    """
    WITH stored AS (
        INSERT INTO event_keys (tenant, event_id, type, path, key, received_at)
        SELECT e.tenant, e.event_id, e.type, a.path, left(v.value, 255), e.received_at
        FROM unnest(:tenants, :types, :paths, :sinces) AS a(tenant, type, path, since)
        JOIN events e ON e.tenant = a.tenant AND e.type = a.type AND e.event_id > (
            lpad(to_hex((extract(epoch FROM a.since - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20)
        )::uuid
        CROSS JOIN LATERAL (SELECT string_to_array(substr(a.path, 6), '.') AS way) s
        CROSS JOIN LATERAL (
            SELECT CASE a.path WHEN 'subject' THEN e.subject WHEN 'source' THEN e.source WHEN 'type' THEN e.type
                   ELSE CASE WHEN jsonb_typeof(e.data #> s.way) IN ('string', 'number', 'boolean')
                             THEN e.data #>> s.way END END AS value
        ) v
        WHERE e.received_at >= a.since AND v.value IS NOT NULL AND NOT EXISTS (
            SELECT FROM event_keys k WHERE k.tenant = e.tenant AND k.event_id = e.event_id AND k.path = a.path
        )
        ORDER BY e.event_id, a.path FOR KEY SHARE OF e SKIP LOCKED
        ON CONFLICT DO NOTHING
        RETURNING tenant, event_id
    ), awaited AS (
        UPDATE events e SET routes = -1 FROM (SELECT DISTINCT tenant, event_id FROM stored) s
        WHERE e.tenant = s.tenant AND e.event_id = s.event_id AND e.routes = 0
    )
    SELECT count(*) FROM stored
    """,
    tenants=ARRAY(Text),
    types=ARRAY(Text),
    paths=ARRAY(Text),
    sinces=ARRAY(DateTime(timezone=True)),
)


class Kind(NamedTuple):
    """Events of a tenant and type, by the value at a path."""

    tenant: str
    type: str
    path: str


async def store_missing_keys(connection: AsyncConnection, kinds: Sequence[tuple[Kind, datetime]]) -> int:
    """Store the keys of events that came at a time or later and have none; return how many that were.

    An API of a release that doesn't know of the wait stores none. What it took for unrouted is awaited from then on.
    Reads all events of the type since then.
    """
    values = {
        "tenants": [kind.tenant for kind, _ in kinds],
        "types": [kind.type for kind, _ in kinds],
        "paths": [kind.path for kind, _ in kinds],
        "sinces": [since for _, since in kinds],
    }
    return int((await connection.execute(_STORE_MISSING, values)).scalar_one())
