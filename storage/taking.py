"""The statements by which a relay takes due runs of a queue for publishing."""

from typing import Any, Final

from sqlalchemy.types import Double, Integer, Text, TypeEngine

from storage.sql import typed

_TAKING: Final = """
    WITH due AS ({due})
    UPDATE runs r SET publish_at = now() + make_interval(secs => :lease), published_at = now()
    FROM due WHERE r.tenant = due.tenant AND r.run_id = due.run_id
    RETURNING r.tenant, r.run_id, r.pipeline, r.queue, r.traceparent, r.published_at, r.priority
"""
_TYPES: Final[dict[str, TypeEngine[Any]]] = {"queue": Text(), "most": Integer(), "lease": Double()}

TAKE = typed(
    _TAKING.format(
        due="""
            SELECT tenant, run_id FROM runs
            WHERE status = 'queued' AND queue = :queue AND publish_at <= now()
            ORDER BY publish_at LIMIT :most
            FOR NO KEY UPDATE SKIP LOCKED
        """
    ),
    **_TYPES,
)

# A probe for each priority, from the highest on, until there are enough.
TAKE_URGENT = typed(
    _TAKING.format(
        due="""
            SELECT found.tenant, found.run_id
            FROM generate_series(9, 1, -1) AS p(priority) CROSS JOIN LATERAL (
                SELECT tenant, run_id FROM runs
                WHERE status = 'queued' AND queue = :queue AND runs.priority > 0 AND runs.priority = p.priority
                  AND publish_at <= now()
                ORDER BY publish_at LIMIT :most
                FOR NO KEY UPDATE SKIP LOCKED
            ) AS found
            LIMIT :most
        """
    ),
    **_TYPES,
)
