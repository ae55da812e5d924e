"""Impossible states of limits and of runs that are the only ones of their key."""

from typing import Final

from storage.check import Check

LIMIT_CHECKS: Final = (
    Check(
        name="over_limit",
        meaning="limits with more runs at once than the newest run admitted by them was told they allow",
        sql="""
            WITH good AS (
                SELECT p.tenant, p.name, p.key, p.admitted_at, l.concurrency
                FROM permits p JOIN runs r USING (tenant, run_id, admitted_at)
                CROSS JOIN LATERAL jsonb_to_recordset(r.limits) AS l(name text, key text, concurrency integer)
                WHERE r.finished_at IS NULL AND l.name = p.name AND l.key = p.key AND l.concurrency IS NOT NULL
            ), ranked AS (
                SELECT *, rank() OVER (PARTITION BY tenant, name, key ORDER BY admitted_at DESC) AS place FROM good
            )
            SELECT name || '/' || key || ' (' || count(*) || ')' AS id FROM ranked
            GROUP BY tenant, name, key HAVING count(*) > max(concurrency) FILTER (WHERE place = 1)
        """,
    ),
    Check(
        name="unadmitted_at_large",
        meaning="runs that wait for a limit's permits, and are running or seen by relays",
        sql="""
            SELECT run_id::text AS id FROM runs
            WHERE lane IS NOT NULL AND admitted_at IS NULL
              AND (status = 'running'
                   OR (status = 'queued' AND (publish_at <> 'infinity' OR published_at IS NOT NULL)))
        """,
    ),
    Check(
        name="admitted_without_permit",
        meaning="runs that were admitted and have no permit of one of their limits, or one that is marked spent",
        sql="""
            SELECT DISTINCT r.run_id::text AS id FROM runs r
            CROSS JOIN LATERAL jsonb_to_recordset(r.limits) AS l(name text, key text, concurrency integer)
            LEFT JOIN permits p ON p.tenant = r.tenant AND p.run_id = r.run_id AND p.admitted_at = r.admitted_at
                AND p.name = l.name AND p.key = l.key
            WHERE r.status IN ('queued', 'running') AND r.admitted_at IS NOT NULL AND l.concurrency IS NOT NULL
              AND (p.run_id IS NULL OR p.spent)
        """,
    ),
    Check(
        name="unique_at_large",
        meaning="runs that are not seen to be the only ones of their key, and are running or seen by relays",
        sql="""
            SELECT run_id::text AS id FROM runs
            WHERE unique_key IS NOT NULL AND unique_since IS NULL
              AND (status = 'running' OR (status = 'queued' AND publish_at <> 'infinity'))
        """,
    ),
)
