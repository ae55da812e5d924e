"""What the harness asks PostgreSQL, past every proxy: looks of an outsider, through psql."""

import json
from collections.abc import Sequence
from typing import Any, Final

from throughline.chaos.ledger import Sent
from throughline.embedded import EmbeddedPostgres
from throughline.errors import ServiceFailed

CAUGHT_UP: Final = "caught_up"

_ROWS = "SELECT coalesce(json_agg(t), '[]') FROM ({sql}) t"


def rows(postgres: EmbeddedPostgres, sql: str, *, timeout: float = 60.0) -> list[dict[str, Any]]:
    """Return the rows of a query; a ``ServiceFailed`` when PostgreSQL doesn't answer."""
    found: list[dict[str, Any]] = json.loads(postgres.psql(_ROWS.format(sql=sql), timeout=timeout))
    return found


def running_workers(postgres: EmbeddedPostgres, prefix: str) -> dict[str, int]:
    """Return how many runs each process of a worker has under way, by the name of its lease."""
    sql = (
        "SELECT l.worker, count(*) AS runs FROM runs r JOIN worker_leases l USING (lease_id) "  # noqa: S608 - our names
        f"WHERE r.status = 'running' AND starts_with(l.worker, '{prefix}') GROUP BY 1"
    )
    return {row["worker"]: row["runs"] for row in rows(postgres, sql)}


def leases_of(postgres: EmbeddedPostgres, worker: str) -> list[str]:
    """Return the leases of the processes whose names begin so."""
    sql = f"SELECT lease_id FROM worker_leases WHERE starts_with(worker, '{worker}')"  # noqa: S608 - our own names
    return [row["lease_id"] for row in rows(postgres, sql)]


def statuses(postgres: EmbeddedPostgres, sent: Sequence[Sent]) -> dict[str, str]:
    """Return the status of these events' runs, by their ids at the client's; nothing when PostgreSQL is away."""
    ids = ", ".join(f"'{one.ce_id}'" for one in sent)
    sql = (
        "SELECT e.ce_id, r.status FROM events e JOIN runs r USING (tenant, event_id) "  # noqa: S608 - our own numbers
        f"WHERE e.source = 'chaos' AND e.ce_id IN ({ids})"
    )
    try:
        return {row["ce_id"]: row["status"] for row in rows(postgres, sql, timeout=5.0)}
    except ServiceFailed:
        return {}


def attempts_begun(postgres: EmbeddedPostgres, worker: str, *, since: float, limit: int) -> int:
    """Return how many attempts a worker has begun since a moment (epoch seconds), counting to ``limit``."""
    sql = (
        f"SELECT FROM attempts WHERE started_at >= to_timestamp({since}) "
        f"AND starts_with(worker, '{worker}') LIMIT {limit}"
    )
    return len(rows(postgres, sql))


def deferred_pipelines(postgres: EmbeddedPostgres) -> set[str]:
    """Return the pipelines whose runs wait for code that knows them."""
    sql = "SELECT DISTINCT pipeline FROM runs WHERE status = 'queued' AND reason = 'unknown_pipeline'"
    return {row["pipeline"] for row in rows(postgres, sql)}


def open_runs(postgres: EmbeddedPostgres) -> int:
    """Return how many runs have not ended."""
    return int(rows(postgres, "SELECT count(*) AS n FROM runs WHERE status IN ('queued', 'running')")[0]["n"])


def what_is_missing(postgres: EmbeddedPostgres, *, since: float, workers: list[str], victims: list[str]) -> list[str]:
    """Say what has not recovered since a moment (epoch seconds): nothing, when all has.

    New events must have been accepted and have finished, each worker must have begun new work, nothing that was due
    before may still wait, and no run may still hang on a victim's lease. Suspects that wait for their turn alone in the
    cell, one after another, are not waited for here: that they end is for the audit.
    """
    leases = ", ".join(f"'{lease}'" for lease in victims) or "NULL"
    begun = " AND ".join(
        f"EXISTS (SELECT FROM attempts WHERE started_at >= m.t AND starts_with(worker, '{name}'))" for name in workers
    )
    sql = f"""
        WITH m AS (SELECT to_timestamp({since}) AS t)
        SELECT EXISTS (SELECT FROM runs WHERE created_at >= m.t AND status = 'succeeded') AS finishing,
               {begun or "true"} AS consuming,
               NOT EXISTS (SELECT FROM runs WHERE status = 'queued' AND created_at < m.t AND available_at <= now()
                           AND coalesce(reason, '') NOT IN ('retry', 'isolated')) AS caught_up,
               NOT EXISTS (SELECT FROM runs WHERE status = 'running' AND lease_id::text IN ({leases})) AS rescued
        FROM m
    """  # noqa: S608 - our own names and numbers
    try:
        (found,) = rows(postgres, sql, timeout=5.0)
    except ServiceFailed:
        return ["postgres"]
    return [name for name, well in found.items() if not well]
