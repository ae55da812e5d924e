"""The driver's own way to PostgreSQL: past the API, one connection."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, LiteralString, cast

import psycopg

from throughline.errors import StackError

_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
_EVERYTHING = "TRUNCATE events, runs, attempts, node_results, waits, event_keys, run_deltas"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What PostgreSQL wrote so far: rows inserted, updated and deleted, WAL bytes, bytes on disk."""

    inserted: int
    updated: int
    deleted: int
    wal: int
    size: int


class Database:
    """One connection, every statement for itself."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def execute(self, statement: LiteralString, **parameters: Any) -> None:
        """Run a statement."""
        self._connection.execute(statement, parameters or None)

    def row(self, statement: LiteralString, **parameters: Any) -> tuple[Any, ...]:
        """Return the one row of a query."""
        found = self._connection.execute(statement, parameters or None, prepare=True).fetchone()
        return cast("tuple[Any, ...]", found)

    def value(self, statement: LiteralString, **parameters: Any) -> Any:
        """Return the one value of a query."""
        return self.row(statement, **parameters)[0]

    def transaction(self) -> AbstractContextManager[object]:
        """Let what follows be one transaction."""
        return self._connection.transaction()

    def require_durable(self) -> dict[str, str]:
        """Return the settings that a commit's promise rests on.

        Raises:
            StackError: one of them is off.

        """
        found = {name: str(self.value("SELECT current_setting(%(name)s)", name=name)) for name in _DURABLE}
        if off := [name for name, value in found.items() if value != "on"]:
            raise StackError(f"PostgreSQL runs with {', '.join(off)} off: such figures would be worth nothing")
        return found

    def forget_events(self) -> None:
        """Remove every event; nothing may be at work on them."""
        self.execute(_EVERYTHING)

    def rows(self) -> Rows:
        """Return what was written so far; counted by the backends within a second of their last statement."""
        self.execute("SELECT pg_stat_clear_snapshot()")
        inserted, updated, deleted = self.row(
            "SELECT coalesce(sum(n_tup_ins), 0), coalesce(sum(n_tup_upd), 0), coalesce(sum(n_tup_del), 0) "
            "FROM pg_stat_user_tables"
        )
        wal, size = self.row("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn, pg_database_size(current_database())")
        return Rows(inserted=int(inserted), updated=int(updated), deleted=int(deleted), wal=int(wal), size=int(size))

    def open_runs(self) -> int:
        """Return how many runs have not ended."""
        return int(self.value("SELECT count(*) FROM runs WHERE status IN ('queued', 'running')"))
