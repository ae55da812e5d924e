"""States that no sequence of what processes do can reach: what ``storage.audit`` looks for."""

from typing import Final

from storage.check import Check
from storage.impossible_limits import LIMIT_CHECKS

WAIT_CHECKS: Final = (
    Check(
        name="waiting_for_nothing",
        meaning="runs that wait or sleep though none of their waits lasts",
        sql="""
            SELECT r.run_id::text AS id FROM runs r
            WHERE r.status = 'queued' AND r.reason IN ('waiting', 'sleeping') AND r.available_at > now()
              AND NOT EXISTS (
                  SELECT FROM waits w WHERE w.tenant = r.tenant AND w.run_id = r.run_id AND w.ended_at IS NULL
              )
        """,
    ),
    Check(
        name="waiting_too_long",
        meaning="runs that are put off for longer than their wait lasts",
        sql="""
            SELECT r.run_id::text AS id FROM runs r
            JOIN (
                SELECT tenant, run_id, max(until) AS until FROM waits GROUP BY tenant, run_id
            ) w USING (tenant, run_id)
            WHERE r.status = 'queued' AND r.reason IN ('waiting', 'sleeping')
              AND r.available_at > w.until + make_interval(secs => :grace)
        """,
    ),
    Check(
        name="wait_passed_over",
        meaning="runs that wait for an event that has come",
        sql="""
            SELECT DISTINCT w.run_id || '/' || w.node AS id FROM waits w
            JOIN runs r USING (tenant, run_id)
            JOIN events o ON o.tenant = r.tenant AND o.event_id = r.event_id
            JOIN event_keys k ON k.tenant = w.tenant AND k.type = w.type AND k.path = w.path AND k.key = w.key
            WHERE w.ended_at IS NULL AND r.status = 'queued' AND r.reason = 'waiting'
              AND (k.received_at, k.event_id) > (o.received_at, o.event_id) AND k.received_at <= w.until
              AND greatest(k.received_at, w.began_at, pg_postmaster_start_time())
                  < now() - make_interval(secs => :grace)
              AND NOT EXISTS (
                  SELECT FROM waits u
                  WHERE u.tenant = w.tenant AND u.run_id = w.run_id AND u.matched_event_id = k.event_id
              )
        """,
    ),
    Check(
        name="never_looked_at",
        meaning="waits and awaited events that no relay has looked at",
        sql="""
            SELECT run_id || '/' || node AS id FROM waits
            WHERE type IS NOT NULL AND NOT probed
              AND greatest(began_at, pg_postmaster_start_time()) < now() - make_interval(secs => :grace)
            UNION ALL
            SELECT event_id || '/' || path FROM event_keys
            WHERE NOT probed
              AND greatest(received_at, pg_postmaster_start_time()) < now() - make_interval(secs => :grace)
        """,
    ),
    Check(
        name="unknown_waits",
        meaning="waits of runs that there are not, or that never began, and those that ended before",
        sql="""
            SELECT w.run_id || '/' || w.node AS id FROM waits w LEFT JOIN runs r USING (tenant, run_id)
            WHERE r.run_id IS NULL OR (r.attempt = 0 AND r.replay_of IS NULL) OR w.ended_at < w.began_at
        """,
    ),
)

CHECKS: Final = (
    *WAIT_CHECKS,
    Check(
        name="running_without_lease",
        meaning="runs that are running though their worker's lease is gone",
        sql="""
            SELECT r.run_id::text AS id FROM runs r LEFT JOIN worker_leases l USING (lease_id)
            WHERE r.status = 'running'
              AND (l.lease_id IS NULL
                   OR coalesce(l.ended_at, greatest(l.expires_at, pg_postmaster_start_time()))
                      < now() - make_interval(secs => :grace))
        """,
    ),
    Check(
        name="running_without_attempt",
        meaning="runs that are running without an open row for their attempt",
        sql="""
            SELECT r.run_id::text AS id FROM runs r
            LEFT JOIN attempts a ON a.tenant = r.tenant AND a.run_id = r.run_id AND a.attempt = r.attempt
            WHERE r.status = 'running' AND (a.run_id IS NULL OR a.outcome IS NOT NULL)
        """,
    ),
    Check(
        name="final_without_time",
        meaning="runs that are final without the time they ended, or open with one",
        sql="""
            SELECT run_id::text AS id FROM runs
            WHERE (status IN ('succeeded', 'failed', 'cancelled')) <> (finished_at IS NOT NULL)
        """,
    ),
    Check(
        name="lease_of_idle_run",
        meaning="runs that hold a lease and are not running",
        sql="SELECT run_id::text AS id FROM runs WHERE lease_id IS NOT NULL AND status <> 'running'",
    ),
    Check(
        name="attempt_gaps",
        meaning="runs whose attempts' rows are not 1 to their attempt",
        sql="""
            SELECT r.run_id::text AS id FROM runs r
            LEFT JOIN (
                SELECT tenant, run_id, count(*) AS rows, min(attempt) AS first, max(attempt) AS last
                FROM attempts GROUP BY tenant, run_id
            ) AS a USING (tenant, run_id)
            WHERE r.attempt <> coalesce(a.rows, 0) OR a.first <> 1 OR a.last <> r.attempt
        """,
    ),
    Check(
        name="several_open_attempts",
        meaning="runs with more than one attempt that has not ended",
        sql="SELECT run_id::text AS id FROM attempts WHERE outcome IS NULL GROUP BY tenant, run_id HAVING count(*) > 1",
    ),
    Check(
        name="open_attempt_of_idle_run",
        meaning="attempts that have not ended, of runs that are not running",
        sql="""
            SELECT a.run_id || '/' || a.attempt AS id FROM attempts a LEFT JOIN runs r USING (tenant, run_id)
            WHERE a.outcome IS NULL AND r.status IS DISTINCT FROM 'running'
        """,
    ),
    Check(
        name="completed_twice",
        meaning="runs with more than one attempt that ended them",
        sql="""
            SELECT run_id::text AS id FROM attempts WHERE outcome IN ('succeeded', 'failed', 'cancelled')
            GROUP BY tenant, run_id HAVING count(*) > 1
        """,
    ),
    Check(
        name="succeeded_otherwise",
        meaning="succeeded runs whose last attempt did not succeed, or that go on after one that did",
        sql="""
            SELECT r.run_id::text AS id FROM runs r
            LEFT JOIN attempts a ON a.tenant = r.tenant AND a.run_id = r.run_id AND a.outcome = 'succeeded'
            WHERE (r.status = 'succeeded' AND a.attempt IS DISTINCT FROM r.attempt)
               OR (r.status <> 'succeeded' AND a.run_id IS NOT NULL)
        """,
    ),
    Check(
        name="succeeded_with_failed_node",
        meaning="succeeded runs with a node that failed, and was not given up, in their last attempt",
        sql="""
            SELECT DISTINCT r.run_id::text AS id FROM node_results n JOIN runs r USING (tenant, run_id, attempt)
            WHERE n.status = 'failed' AND n.output IS NULL AND r.status = 'succeeded'
        """,
    ),
    Check(
        name="unknown_results",
        meaning="node results of runs or attempts that there never were",
        sql="""
            SELECT n.run_id || '/' || n.attempt || '/' || n.node AS id
            FROM node_results n LEFT JOIN runs r USING (tenant, run_id)
            WHERE r.run_id IS NULL OR n.attempt > r.attempt OR n.attempt < 0
               OR (n.attempt = 0 AND r.replay_of IS NULL)
        """,
    ),
    Check(
        name="unknown_attempts",
        meaning="attempts of runs that there are not",
        sql="""
            SELECT a.run_id || '/' || a.attempt AS id FROM attempts a LEFT JOIN runs r USING (tenant, run_id)
            WHERE r.run_id IS NULL
        """,
    ),
    Check(
        name="unknown_events",
        meaning="runs of events that there are not",
        sql="""
            SELECT r.run_id::text AS id FROM runs r LEFT JOIN events e USING (tenant, event_id)
            WHERE e.event_id IS NULL
        """,
    ),
    Check(
        name="missing_runs",
        meaning="events with fewer runs than pipelines they went to",
        sql="""
            SELECT e.event_id::text AS id FROM events e
            LEFT JOIN (
                SELECT tenant, event_id, count(*) AS made FROM runs WHERE replay_of IS NULL GROUP BY tenant, event_id
            ) AS r USING (tenant, event_id)
            WHERE e.routes > coalesce(r.made, 0)
        """,
    ),
    Check(
        name="never_due",
        meaning="queued runs that are due, or seen by relays, only in well over a year",
        sql="""
            SELECT run_id::text AS id FROM runs
            WHERE status = 'queued' AND greatest(available_at, publish_at) > now() + interval '367 days'
              AND NOT (publish_at = 'infinity' AND available_at <= now() + interval '367 days'
                       AND ((lane IS NOT NULL AND admitted_at IS NULL)
                            OR (unique_key IS NOT NULL AND unique_since IS NULL)))
        """,
    ),
    Check(
        name="times_reversed",
        meaning="runs that ended before they began",
        sql="SELECT run_id::text AS id FROM runs WHERE finished_at < started_at OR finished_at < created_at",
    ),
    Check(
        name="lease_not_ended",
        meaning="leases of dead workers that no relay has ended",
        sql="""
            SELECT lease_id::text AS id FROM worker_leases
            WHERE ended_at IS NULL
              AND greatest(expires_at, pg_postmaster_start_time()) < now() - make_interval(secs => :grace)
        """,
    ),
    Check(
        name="account_differs",
        meaning="tenants whose runs are not those that were accepted, ended and removed by the account",
        sql="""
            SELECT tenant || ' (runs ' || coalesce(c.runs, 0) || ' of ' || coalesce(d.runs, 0)
                   || ', final ' || coalesce(c.final, 0) || ' of ' || coalesce(d.final, 0) || ')' AS id
            FROM (
                SELECT tenant, count(*) AS runs,
                       count(*) FILTER (WHERE status IN ('succeeded', 'failed', 'cancelled')) AS final
                FROM runs GROUP BY tenant
            ) AS c
            FULL JOIN (
                SELECT tenant, sum(accepted) - sum(removed) AS runs, sum(final) - sum(removed) AS final
                FROM run_deltas GROUP BY tenant
            ) AS d USING (tenant)
            WHERE coalesce(c.runs, 0) <> coalesce(d.runs, 0) OR coalesce(c.final, 0) <> coalesce(d.final, 0)
        """,
    ),
    *LIMIT_CHECKS,
)
"""All of them. Constraints forbid some already: those would tell of a constraint that was dropped."""
