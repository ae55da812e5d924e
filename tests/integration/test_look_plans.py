"""What the looks cost when the history is long: they read what is open and what is new, never what is over."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from settings import DatabaseSettings
from storage.engine import create_engine, transaction
from storage.finding import IdPrefix, find_ids
from storage.overview import look_around
from storage.past_runs import ended_runs, event_ids, past_runs
from storage.queries import get_event
from storage.runs import get_run
from storage.snapshots import snapshot

HISTORY = 4000
NEW = 40
FEW = 400
"""So many rows a statement may read of a table: some times what is new, a tenth of the history."""

_TABLES = frozenset({"events", "runs", "attempts", "node_results"})
_ID = "(lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n), 19, '8'))::uuid"
_FILL = (
    f"""
    CREATE TEMP TABLE made AS
    SELECT n, t, {_ID} AS id, CASE WHEN n > {NEW} THEN CASE WHEN n % 200 = 0 THEN 'failed' ELSE 'succeeded' END
        ELSE (ARRAY['queued', 'running', 'succeeded', 'failed'])[n % 4 + 1] END AS status
    FROM (SELECT n, now() - n * interval '1 second' - (n > {NEW})::int * interval '1 day' AS t
          FROM generate_series(1, {HISTORY + NEW}) AS n) AS moments
    """,
    """
    INSERT INTO events (event_id, source, ce_id, type, data, content_hash, received_at, routes)
    SELECT id, 's', n::text, 't', '{}', 'x', t, 1 FROM made
    """,
    "INSERT INTO worker_leases (lease_id, worker, expires_at) SELECT id, 'w', now() + interval '1 h' FROM made LIMIT 1",
    """
    INSERT INTO runs (run_id, event_id, pipeline, pipeline_version, queue, status, attempt, lease_id, failure_kind,
                      created_at, finished_at)
    SELECT id, id, 'p', 1, 'default', status, 2,
           CASE status WHEN 'running' THEN (SELECT lease_id FROM worker_leases) END,
           CASE status WHEN 'failed' THEN 'error' END, t, CASE WHEN status IN ('succeeded', 'failed') THEN t END
    FROM made
    """,
    """
    INSERT INTO attempts (run_id, attempt, lease_id, worker, started_at, finished_at, outcome)
    SELECT id, attempt, id, 'w', t, t, 'retried' FROM made, generate_series(1, 2) AS attempt
    """,
    """
    INSERT INTO node_results (run_id, node, attempt, status, started_at, duration_seconds)
    SELECT id, node, 1, 'succeeded', t, 1 FROM made, unnest(ARRAY['a', 'b']) AS node
    """,
)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    async with transaction(engine) as connection:
        for statement in _FILL:
            await connection.execute(text(statement))
        await connection.execute(text("ANALYZE"))
    yield engine
    await engine.dispose()


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if plan.get("Relation Name") in _TABLES:
        yield plan
    for part in plan.get("Plans", ()):
        yield from scans(part)


def rows_read(scan: dict[str, Any]) -> float:
    removed = sum(scan.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
    return float((scan["Actual Rows"] + removed) * scan["Actual Loops"])


async def explained(engine: AsyncEngine, statements: list[tuple[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The plans as a look has them, with what was read."""
    plans = []
    async with snapshot(engine, within=30.0) as connection:
        for statement, parameters in statements:
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            found = (await connection.exec_driver_sql(explain, parameters)).scalar_one()
            plans.append((statement, found[0]["Plan"]))
    return plans


def too_much(plans: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, str, float]]:
    return [
        (statement, f"{scan['Node Type']} on {scan['Relation Name']}", rows_read(scan))
        for statement, plan in plans
        for scan in scans(plan)
        if "Seq Scan" in scan["Node Type"] or rows_read(scan) > FEW
    ]


@contextmanager
def kept(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """Yield what is asked of the tables in the block, with its parameters."""
    statements: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if any(table in statement.split() for table in _TABLES):
            statements.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", keep)
    yield statements
    event.remove(engine.sync_engine, "before_cursor_execute", keep)


async def asked(engine: AsyncEngine) -> list[tuple[str, Any]]:
    """What a look at everything asks of the tables."""
    with kept(engine) as statements:
        seen = await look_around(engine, tenant="default", interval=2.0, window=300.0, within=30.0)
    assert (seen.account.open, seen.running, seen.dead) == (NEW // 2, {"p": NEW // 4}, NEW // 4 + HISTORY // 200)
    return statements


async def test_a_look_at_everything_reads_no_history(engine: AsyncEngine) -> None:
    statements = await asked(engine)
    assert len(statements) >= 9
    plans = await explained(engine, statements)
    assert {scan["Relation Name"] for _, plan in plans for scan in scans(plan)} == _TABLES
    assert too_much(plans) == []


async def test_a_statement_that_reads_history_would_be_told(engine: AsyncEngine) -> None:
    plans = await explained(engine, [("SELECT count(*) FROM runs WHERE finished_at < now()", ())])
    assert too_much(plans)


async def test_an_event_is_found_and_read_by_keys(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        event_id = (await connection.execute(text("SELECT event_id FROM events WHERE ce_id = '2000'"))).scalar_one()
    prefix = IdPrefix.parse(str(event_id)[:35])
    assert prefix is not None
    with kept(engine) as statements:
        async with snapshot(engine, within=30.0) as connection:
            found = await find_ids(connection, prefix, tenant="default")
            story = await get_event(connection, tenant="default", event_id=event_id)
            await get_run(connection, tenant="default", run_id=event_id)
    assert ({one.id for one in found}, {one.kind for one in found}) == ({event_id}, {"event", "run"})
    assert story is not None
    assert len(story.runs[0].nodes) == 2
    plans = await explained(engine, statements)
    assert {scan["Relation Name"] for _, plan in plans for scan in scans(plan)} == _TABLES
    assert too_much(plans) == []


async def test_past_runs_are_found_and_read_by_keys(engine: AsyncEngine) -> None:
    """Of the newest page of events, of a type's events, or of what is newer than a time; never the whole history."""
    newest, of_type = {"types": None}, {"types": ["t", "u"]}
    with kept(engine) as statements:
        async with snapshot(engine, within=30.0) as connection:
            for asked in (newest, of_type):
                ids = await event_ids(connection, tenant="default", most=NEW, **asked)  # type: ignore[arg-type]
                assert len(ids) == NEW
                later = await event_ids(connection, tenant="default", most=NEW, before=ids[-1], **asked)  # type: ignore[arg-type]
                assert len(later) == NEW
                assert later[0] < ids[-1]
            run_ids = await ended_runs(connection, tenant="default", pipeline="p", event_ids=ids)
            assert len(run_ids) == NEW // 2
            assert len(await past_runs(connection, tenant="default", run_ids=run_ids)) == NEW // 2
    plans = await explained(engine, statements)
    assert {scan["Relation Name"] for _, plan in plans for scan in scans(plan)} == _TABLES
    assert too_much(plans) == []
