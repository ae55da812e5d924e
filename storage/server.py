"""What PostgreSQL tells of itself to an ordinary role: no table of ours is read, and no lock is waited for."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from storage.sql import typed
from storage.tables import metadata

# Of other roles' sessions one sees that they are there, and nothing else. A standby writes no log.
_SERVER = typed(
    """
    SELECT (SELECT sum(numbackends) FROM pg_stat_database)::bigint AS connections,
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0) AS connections_max,
           (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock') AS lock_waits,
           coalesce((
               SELECT extract(epoch FROM clock_timestamp() - min(xact_start)) FROM pg_stat_activity
               WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
           ), 0)::float8 AS oldest_transaction,
           d.deadlocks, d.xact_commit AS committed, d.xact_rollback AS rolled_back,
           d.blks_hit AS blocks_buffered, d.blks_read AS blocks_read,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') END::bigint AS wal,
           pg_database_size(d.datid) AS size
    FROM pg_stat_database AS d WHERE d.datname = current_database()
    """
)

_TABLES = typed(
    """
    SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND relname = ANY (:tables)
    """,
    tables=ARRAY(Text()),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The server at one moment. Sizes are in bytes; what is counted is counted since the statistics began.

    ``lock_waits`` and ``oldest_transaction`` (seconds, 0 without one) are of the sessions of our own role; ``wal`` is
    None on a standby.
    """

    connections: int
    connections_max: int
    lock_waits: int
    oldest_transaction: float
    deadlocks: int
    committed: int
    rolled_back: int
    blocks_buffered: int
    blocks_read: int
    wal: int | None
    size: int


@dataclass(frozen=True, slots=True)
class TableRows:
    """PostgreSQL's estimate of a table's rows: what is there, and what vacuum has to take away."""

    live: int
    dead: int


async def server_state(connection: AsyncConnection) -> ServerState:
    """Read what PostgreSQL tells of itself and of our database."""
    return ServerState(**(await connection.execute(_SERVER)).one()._asdict())


async def table_rows(connection: AsyncConnection) -> Mapping[str, TableRows]:
    """Read the estimates for our tables, by name."""
    rows = await connection.execute(_TABLES, {"tables": sorted(metadata.tables)})
    return {row.relname: TableRows(row.n_live_tup, row.n_dead_tup) for row in rows}
