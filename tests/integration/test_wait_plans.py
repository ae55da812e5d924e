"""What it costs to bring together many waits and many events: a look reads what is new, by its indexes."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.selectable import TextualSelect

from settings import DatabaseSettings
from storage import matching, waits
from storage.engine import create_engine, transaction

MANY = 8000
NEW = 40
FEW = 6 * NEW
"""So many rows a statement may read of a table: a few for each that is new, a small part of all."""

_TABLES = frozenset({"waits", "event_keys", "runs", "events"})
_FILL = (
    f"""
    CREATE TEMP TABLE made AS
    SELECT n, gen_random_uuid() AS id, now() - interval '1 h' AS t FROM generate_series(1, {MANY}) AS n
    """,
    """
    INSERT INTO events (event_id, source, ce_id, type, data, content_hash, received_at, routes)
    SELECT id, 's', n::text, 'made', '{}', 'x', t, 1 FROM made
    """,
    """
    INSERT INTO runs (run_id, event_id, pipeline, pipeline_version, queue, reason, attempt, available_at, publish_at,
                      created_at)
    SELECT id, id, 'p', 1, 'default', 'waiting', 1, now() + interval '1 h', now() + interval '1 h', t FROM made
    """,
    """
    INSERT INTO waits (run_id, node, type, path, key, until, probed)
    SELECT id, 'n', 'paid', 'data.order', n::text, now() + interval '1 h', true FROM made
    """,
    f"""
    INSERT INTO events (event_id, source, ce_id, type, data, content_hash, routes)
    SELECT gen_random_uuid(), 's', 'paid ' || n, 'paid', '{{}}', 'x', -1 FROM generate_series(1, {MANY}) AS n
    """,
    f"""
    INSERT INTO event_keys (event_id, type, path, key, probed)
    SELECT event_id, 'paid', 'data.order', k.key, k.number > {NEW}
    FROM (
        SELECT event_id, row_number() OVER () AS number, 'x' || row_number() OVER () AS key
        FROM events WHERE type = 'paid'
    ) k
    """,
    f"""
    UPDATE event_keys SET key = substr(key, 2) WHERE NOT probed AND substr(key, 2)::int <= {NEW // 2}
    """,
    f"""
    UPDATE waits SET probed = false WHERE key::int BETWEEN {MANY - NEW} AND {MANY - 1}
    """,
)


@pytest.fixture(params=["new to the planner", "analyzed"])
async def engine(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    async with transaction(engine) as connection:
        for statement in _FILL:
            await connection.execute(text(statement))
        if request.param == "analyzed":
            await connection.execute(text("ANALYZE"))
    yield engine
    await engine.dispose()


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if plan.get("Relation Name") in _TABLES and plan["Node Type"] != "ModifyTable":
        yield plan
    for part in plan.get("Plans", ()):
        yield from scans(part)


async def too_much(
    engine: AsyncEngine, asked: TextClause | TextualSelect, **values: object
) -> list[tuple[str, str, float]]:
    """Which scans of a statement read a table as a whole, or too many rows of it."""
    statement = asked.element if isinstance(asked, TextualSelect) else asked
    explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}").bindparams(*statement._bindparams.values())
    async with engine.connect() as connection:
        plan = (await connection.execute(explain, values)).scalar_one()[0]["Plan"]
        await connection.rollback()
    read = [(scan, _rows_read(scan)) for scan in scans(plan)]
    return [
        (scan["Node Type"], scan["Relation Name"], rows)
        for scan, rows in read
        if "Seq Scan" in scan["Node Type"] or rows > FEW
    ]


def _rows_read(scan: dict[str, Any]) -> float:
    removed = sum(scan.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
    return float((scan["Actual Rows"] + removed) * scan["Actual Loops"])


async def test_a_look_reads_what_is_new_and_what_fits_it(engine: AsyncEngine) -> None:
    assert await too_much(engine, matching._ANY) == []
    assert await too_much(engine, matching._OLDEST) == []
    assert await too_much(engine, matching._KINDS, most=500) == []
    assert await too_much(engine, matching._MATCH, most=500) == []
    async with transaction(engine) as connection:
        assert len((await matching.match(connection, most=500)).matches) == NEW // 2


async def test_a_worker_reads_the_waits_of_its_own_runs(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        run_ids = list((await connection.execute(text(f"SELECT run_id FROM waits LIMIT {NEW}"))).scalars())
        await connection.execute(text("UPDATE waits SET until = now() WHERE run_id = ANY(:ids)"), {"ids": run_ids})
    values = {"tenant": "default", "run_ids": run_ids}
    for statement in (waits._READ, waits._KINDS, waits._END):
        assert await too_much(engine, statement, **values) == []
