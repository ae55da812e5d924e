import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import asyncpg as driver

from migrations import upgrade
from settings import DatabaseSettings
from storage import admission, claims, ingest, outcomes, versions
from storage.engine import connect

RUN = ("runs", {"tenant", "run_id"})
PERMIT = ("permits", {"tenant", "name", "key"})
STATEMENTS: dict[str, tuple[TextClause | str, list[tuple[str, set[str]]]]] = {
    "claim": (claims._CLAIM, [RUN, RUN, ("events", {"tenant", "event_id"})]),
    "checkpoint": (outcomes._CHECKPOINT, [RUN]),
    "finish": (outcomes._FINISH, [RUN, RUN, ("attempts", {"tenant", "run_id", "attempt"})]),
    "move": (
        versions._MOVE,
        [RUN, RUN, ("node_results", {"tenant", "run_id"}), ("waits", {"tenant", "run_id"})],
    ),
    "finish, and wait": (outcomes._FINISH_AND_WAIT, [RUN, RUN, ("attempts", {"tenant", "run_id", "attempt"})]),
    "finish, with limits to wait for": (
        outcomes._FINISH_LIMITED,
        [RUN, RUN, ("attempts", {"tenant", "run_id", "attempt"})],
    ),
    "what limits hold": (
        admission._STANDING,
        [RUN, PERMIT, PERMIT, ("permits", {"tenant", "name", "key", "admitted_at", "run_id"})],
    ),
    "admit": (admission._ADMIT, [("runs", {"lane"}), RUN]),
    "what is there already": (
        ingest._EXISTING,
        [("events", {"tenant", "source", "ce_id"}), ("runs", {"tenant", "event_id"})],
    ),
}
"""Which tables a statement reads, and by which columns' equality."""


def sql_of(statement: TextClause | str) -> str:
    return statement if isinstance(statement, str) else str(statement.compile(dialect=driver.dialect()))


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def generic_plan(settings: DatabaseSettings, statement: str) -> dict[str, Any]:
    """The plan that a connection of ours keeps which prepared the statement in this state of the tables."""
    nulls = ", ".join(["NULL"] * max(int(number) for number in re.findall(r"\$(\d+)", statement)))
    connection = await connect(settings, application="test")
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE hot AS {statement}")
        explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE hot({nulls})")
    finally:
        await connection.close()
    plan: dict[str, Any] = json.loads(explained)[0]["Plan"]
    return plan


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_plan_made_while_the_tables_are_new_goes_by_keys(name: str, empty_database_url: str) -> None:
    statement, expected = STATEMENTS[name]
    settings = DatabaseSettings.model_validate({"url": empty_database_url})
    upgrade(settings)
    plan = asyncio.run(generic_plan(settings, sql_of(statement)))
    read = [
        (node["Relation Name"], set(re.findall(r"\b(\w+) = ", node.get("Index Cond", ""))))
        for node in nodes(plan)
        if node["Node Type"] != "ModifyTable" and node.get("Relation Name", "worker_leases") != "worker_leases"
    ]
    assert sorted(read, key=repr) == sorted(expected, key=repr)
