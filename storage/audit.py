"""Looking through the whole database for impossible states."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Integer, Text, TypeEngine

from settings import DatabaseSettings
from storage.check import Check
from storage.engine import create_engine, transaction
from storage.impossible import CHECKS
from storage.sql import typed

_SETTINGS = typed(
    """
    SELECT set_config('statement_timeout', :timeout, true), set_config('work_mem', '64MB', true)
    """,
    timeout=Text(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found: how many, and the first of their ids. ``count`` is 0 where all is well."""

    check: str
    meaning: str
    count: int
    ids: tuple[str, ...]


async def audit(settings: DatabaseSettings, *, grace: float, most: int, check_timeout: float) -> list[Finding]:
    """Make every check in one snapshot, writing nothing; answer with what each found, the clean ones included.

    ``grace`` is how many seconds a dead worker's lease and runs may wait for a relay. Up to ``most`` ids are named a
    check, and a check may take ``check_timeout`` seconds.

    Raises:
        DatabaseUnavailable: PostgreSQL is away, or a check took too long.

    """
    engine = create_engine(settings, application="audit", pool_size=1)
    one_snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    try:
        async with transaction(one_snapshot) as connection:
            await connection.execute(_SETTINGS, {"timeout": str(int(check_timeout * 1000))})
            return [await _make(connection, check, grace=grace, most=most) for check in CHECKS]
    finally:
        await engine.dispose()


async def _make(connection: AsyncConnection, check: Check, *, grace: float, most: int) -> Finding:
    values: dict[str, object] = {"most": most}
    if ":grace" in check.sql:
        values["grace"] = grace
    rows = (await connection.execute(_statement(check), values)).all()
    return Finding(
        check=check.name,
        meaning=check.meaning,
        count=rows[0].total if rows else 0,
        ids=tuple(row.id for row in rows),
    )


def _statement(check: Check) -> TextClause:
    types: dict[str, TypeEngine[Any]] = {"grace": Double()} if ":grace" in check.sql else {}
    found = f"SELECT id, count(*) OVER () AS total FROM ({check.sql}) AS found ORDER BY id LIMIT :most"  # noqa: S608 - this project's own text
    return typed(found, most=Integer(), **types)
