from observability.metrics.families import no_labels
from observability.metrics.labels import BlockSource, RowState, TransactionEnd
from observability.metrics.readings import CounterReading, GaugeReading


def _queue(*, queue: str) -> tuple[str, ...]:
    return (queue,)


def _blocks(*, source: BlockSource) -> tuple[str, ...]:
    return (source,)


def _transactions(*, outcome: TransactionEnd) -> tuple[str, ...]:
    return (outcome,)


def _rows(*, table: str, state: RowState) -> tuple[str, ...]:
    return (table, state)


class StoreMetrics:
    """The catalogue's part about Redis and PostgreSQL: read off them by each relay, and absent while they are away."""

    redis_up = GaugeReading("throughline_redis_up", "Whether Redis answers the relay: 1 or 0.", no_labels)
    redis_memory_used = GaugeReading("throughline_redis_memory_used_bytes", "Memory that Redis uses.", no_labels)
    redis_memory_max = GaugeReading(
        "throughline_redis_memory_max_bytes", "Memory that Redis may use; 0 is no limit.", no_labels
    )
    redis_evicted_keys = CounterReading(
        "throughline_redis_evicted_keys_total", "Keys that Redis threw away for want of memory.", no_labels
    )
    redis_commands = CounterReading("throughline_redis_commands_total", "Commands that Redis has executed.", no_labels)
    redis_connected_clients = GaugeReading(
        "throughline_redis_connected_clients", "Connections of clients to Redis.", no_labels
    )
    redis_rejected_connections = CounterReading(
        "throughline_redis_rejected_connections_total", "Connections refused because Redis had too many.", no_labels
    )
    redis_queue_messages = GaugeReading(
        "throughline_redis_queue_messages", "Messages that wait in Redis for a worker to fetch them.", _queue
    )
    redis_unacknowledged = GaugeReading(
        "throughline_redis_unacknowledged_messages", "Messages that workers fetched and did not acknowledge.", no_labels
    )

    postgres_up = GaugeReading("throughline_postgres_up", "Whether PostgreSQL answers the relay: 1 or 0.", no_labels)
    postgres_connections = GaugeReading(
        "throughline_postgres_connections", "Connections to all databases of the server.", no_labels
    )
    postgres_connections_max = GaugeReading(
        "throughline_postgres_connections_max", "Connections that PostgreSQL grants to ordinary roles.", no_labels
    )
    postgres_lock_waits = GaugeReading(
        "throughline_postgres_lock_waits", "Connections of our role that wait for a lock.", no_labels
    )
    postgres_oldest_transaction = GaugeReading(
        "throughline_postgres_oldest_transaction_seconds",
        "Age of the oldest open transaction of our role; 0 when there is none.",
        no_labels,
    )
    postgres_deadlocks = CounterReading("throughline_postgres_deadlocks_total", "Deadlocks in our database.", no_labels)
    postgres_transactions = CounterReading(
        "throughline_postgres_transactions_total", "Transactions in our database, by how they ended.", _transactions
    )
    postgres_blocks = CounterReading(
        "throughline_postgres_blocks_total", "Blocks read in our database, by where they were found.", _blocks
    )
    postgres_wal = CounterReading(
        "throughline_postgres_wal_bytes_total", "Write-ahead log that the server has written.", no_labels
    )
    postgres_database_size = GaugeReading(
        "throughline_postgres_database_size_bytes", "Size of our database on disk.", no_labels
    )
    postgres_table_rows = GaugeReading(
        "throughline_postgres_table_rows", "Rows of our tables, as PostgreSQL estimates them.", _rows
    )
