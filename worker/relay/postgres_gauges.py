from collections.abc import Mapping
from typing import Final

from observability.metrics import BlockSource, Metrics, RowState, TransactionEnd
from storage import server
from storage.engine import DatabaseUnavailable
from worker.relay.database import Database

_SECONDS: Final = 5.0
_WITHIN: Final = 3.0


class PostgresGauges:
    """Whether PostgreSQL answers, and how it is, looked at now and then and not when somebody scrapes."""

    def __init__(self, *, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._up = metrics.postgres_up
        self._metrics = metrics
        self._readings = (
            metrics.postgres_connections,
            metrics.postgres_connections_max,
            metrics.postgres_lock_waits,
            metrics.postgres_oldest_transaction,
            metrics.postgres_deadlocks,
            metrics.postgres_transactions,
            metrics.postgres_blocks,
            metrics.postgres_wal,
            metrics.postgres_database_size,
            metrics.postgres_table_rows,
        )

    async def run_once(self) -> float:
        """Look once, within three seconds; return in how many to look again. PostgreSQL away is an answer, too."""
        try:
            async with self._database.glance(within=_WITHIN) as connection:
                state = await server.server_state(connection)
                tables = await server.table_rows(connection)
        except DatabaseUnavailable:
            self._up.labels().set(0)
            for reading in self._readings:
                reading.clear()
            return _SECONDS
        self._up.labels().set(1)
        self._show(state)
        self._show_tables(tables)
        return _SECONDS

    def _show(self, state: server.ServerState) -> None:
        metrics = self._metrics
        metrics.postgres_connections.labels().set(state.connections)
        metrics.postgres_connections_max.labels().set(state.connections_max)
        metrics.postgres_lock_waits.labels().set(state.lock_waits)
        metrics.postgres_oldest_transaction.labels().set(state.oldest_transaction)
        metrics.postgres_deadlocks.labels().set(state.deadlocks)
        metrics.postgres_transactions.labels(outcome=TransactionEnd.COMMITTED).set(state.committed)
        metrics.postgres_transactions.labels(outcome=TransactionEnd.ROLLED_BACK).set(state.rolled_back)
        metrics.postgres_blocks.labels(source=BlockSource.BUFFERS).set(state.blocks_buffered)
        metrics.postgres_blocks.labels(source=BlockSource.DISK).set(state.blocks_read)
        metrics.postgres_database_size.labels().set(state.size)
        if state.wal is None:
            metrics.postgres_wal.clear()
        else:
            metrics.postgres_wal.labels().set(state.wal)

    def _show_tables(self, tables: Mapping[str, server.TableRows]) -> None:
        for table, rows in tables.items():
            self._metrics.postgres_table_rows.labels(table=table, state=RowState.LIVE).set(rows.live)
            self._metrics.postgres_table_rows.labels(table=table, state=RowState.DEAD).set(rows.dead)
