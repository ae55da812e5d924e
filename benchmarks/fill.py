"""Makes backlogs and histories by SQL: what would take hours over HTTP takes minutes."""

import json
import time
from collections.abc import Callable
from typing import Final, LiteralString

from benchmarks.database import Database
from benchmarks.payload import event_parts

_STEP: Final = 200_000
_NODE_RESULTS_OF: Final = 10
"""Every so many-th run of the history has its node results: they are no larger part of an index than of the disk."""

_EVENTS: Final[LiteralString] = """
    INSERT INTO events (tenant, event_id, source, ce_id, type, data, content_hash, received_at, traceparent, routes)
    SELECT 'default', id, %(source)s, n::text, 'bench.three', %(data)s::jsonb, sha256(n::text::bytea), at,
           '00-' || md5(n::text) || '-' || left(md5('s' || n), 16) || '-01', 1
    FROM (
        SELECT n, uuidv7(make_interval(secs => -%(age)s * (1 - n / %(most)s::float8))) AS id,
               now() - make_interval(secs => %(age)s * (1 - n / %(most)s::float8)) AS at
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    ) AS made
    ORDER BY n
"""
_QUEUED: Final[LiteralString] = """
    INSERT INTO runs (tenant, run_id, event_id, pipeline, pipeline_version, queue, reason, traceparent, created_at,
                      available_at, publish_at)
    SELECT tenant, uuidv7(received_at - now()), event_id, 'bench_three', 1, 'default', 'accepted', traceparent,
           received_at, received_at, received_at
    FROM events e WHERE tenant = 'default' AND source = %(source)s
      AND NOT EXISTS (SELECT FROM runs r WHERE r.tenant = e.tenant AND r.event_id = e.event_id)
    ORDER BY event_id
"""
_DONE: Final[LiteralString] = """
    WITH made AS (
        SELECT tenant, event_id, received_at, traceparent, uuidv7(received_at - now()) AS run_id FROM events e
        WHERE tenant = 'default' AND source = %(source)s
          AND NOT EXISTS (SELECT FROM runs r WHERE r.tenant = e.tenant AND r.event_id = e.event_id)
        ORDER BY event_id
    ), done AS (
        INSERT INTO runs (tenant, run_id, event_id, pipeline, pipeline_version, queue, status, traceparent, attempt,
                          created_at, available_at, publish_at, started_at, finished_at)
        SELECT tenant, run_id, event_id, 'bench_three', 1, 'default', 'succeeded', traceparent, 1, received_at,
               received_at, received_at, received_at, received_at
        FROM made RETURNING tenant, run_id, created_at
    ), tried AS (
        INSERT INTO attempts (tenant, run_id, attempt, lease_id, worker, task_id, span_id, started_at, finished_at,
                              outcome)
        SELECT tenant, run_id, 1, %(lease)s::uuid, 'worker-1@history#00000000', md5(run_id::text)::uuid::text,
               left(md5(run_id::text), 16), created_at, created_at, 'succeeded'
        FROM done
    )
    INSERT INTO node_results (tenant, run_id, node, attempt, status, output, started_at, duration_seconds, span_id)
    SELECT tenant, run_id, node, 1, 'succeeded', '{"cents": 7500, "lines": 3}', created_at, 0.001,
           left(md5(run_id::text || node), 16)
    FROM done, unnest(ARRAY['normalise', 'price', 'summarise']) AS node
    WHERE mod(('x' || right(run_id::text, 4))::bit(16)::int, %(every)s) = 0
"""
_LEASE: Final = "00000000-0000-7000-8000-000000000000"
_HOUR: Final = 3600.0
_MONTH: Final = 20 * 24 * _HOUR


def fill_due(database: Database, count: int, *, say: Callable[[str], None]) -> None:
    """Add queued runs, with their events, until so many are due."""
    missing = count - database.open_runs()
    if missing > 0:
        _fill(database, missing, runs=_QUEUED, age=_HOUR, say=say)


def fill_history(database: Database, count: int, *, say: Callable[[str], None]) -> None:
    """Add events of the last weeks, each with a run that succeeded, until there are so many."""
    missing = count - int(database.value("SELECT coalesce(sum(final - removed), 0) FROM run_deltas"))
    if missing > 0:
        _fill(database, missing, runs=_DONE, age=_MONTH, say=say)


def _fill(database: Database, count: int, *, runs: LiteralString, age: float, say: Callable[[str], None]) -> None:
    before, after = event_parts("bench.three", source="fill")
    data = json.dumps(json.loads(before + after)["data"])
    began, nonce = time.monotonic(), time.time_ns()
    # Foreign keys hold by construction; checking them row by row would take most of the time.
    database.execute("SET session_replication_role = replica")
    for first in range(1, count + 1, _STEP):
        last = min(first + _STEP - 1, count)
        values = {"source": f"fill-{nonce}-{first}", "data": data, "age": age, "most": count, "lease": _LEASE}
        with database.transaction():
            database.execute(_EVENTS, first=first, last=last, **values)
            if first == 1:
                database.execute("ANALYZE events")
            database.execute(runs, every=_NODE_RESULTS_OF, **values)
            database.execute(
                "INSERT INTO run_deltas (tenant, accepted, final) VALUES ('default', %(accepted)s, %(final)s)",
                accepted=last - first + 1,
                final=last - first + 1 if runs == _DONE else 0,
            )
        say(f"{last:,} of {count:,} rows made, {time.monotonic() - began:.0f} s")
    database.execute("SET session_replication_role = origin")
    database.execute("VACUUM (ANALYZE) events, runs, attempts, node_results")
    database.execute("CHECKPOINT")
