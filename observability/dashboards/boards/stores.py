from typing import Final

from observability.dashboards.board import Board, Row
from observability.dashboards.links import logs
from observability.dashboards.panels import UP_OR_DOWN, Query, Series, Stat
from observability.dashboards.promql import highest, highest_rate, lowest, or_zero, rate
from observability.metrics import Metrics

_RELAY_LOGS: Final = logs("The relay's log lines", '{service_name=~".*relay"} | json')
_CONNECTIONS: Final = f"{highest(Metrics.postgres_connections)} / {highest(Metrics.postgres_connections_max)}"
_MEMORY: Final = f"{highest(Metrics.redis_memory_used)} / ({highest(Metrics.redis_memory_max)} > 0)"
_FOUND: Final = highest_rate(Metrics.postgres_blocks, source="buffers")
_BLOCKS: Final = f"({_FOUND} + {highest_rate(Metrics.postgres_blocks, source='disk')} > 0)"

_NOW: Final = Row(
    "Now",
    (
        Stat(
            title="PostgreSQL",
            description="Whether PostgreSQL answers every relay. While it is away nothing is accepted and no run ends.",
            unit="none",
            queries=(Query(expr=lowest(Metrics.postgres_up)),),
            mappings=UP_OR_DOWN,
        ),
        Stat(
            title="Connections",
            description="Share of the connections that PostgreSQL grants to ordinary roles.",
            unit="percentunit",
            queries=(Query(expr=_CONNECTIONS),),
            steps=((0.8, "orange"), (0.95, "red")),
        ),
        Stat(
            title="Oldest transaction",
            description="Age of the oldest open transaction of our role. Ours last milliseconds: an old one keeps "
            "vacuum from "
            "its work.",
            unit="s",
            queries=(Query(expr=highest(Metrics.postgres_oldest_transaction)),),
            steps=((30.0, "orange"), (300.0, "red")),
        ),
        Stat(
            title="Redis",
            description="Whether Redis answers every relay. While it is away events are accepted and wait in "
            "PostgreSQL.",
            unit="none",
            queries=(Query(expr=lowest(Metrics.redis_up)),),
            mappings=UP_OR_DOWN,
        ),
        Stat(
            title="Redis memory",
            description="Share of the memory that Redis may use; no data where it has no limit.",
            unit="percentunit",
            queries=(Query(expr=_MEMORY),),
            steps=((0.8, "orange"), (0.95, "red")),
        ),
        Stat(
            title="Evicted keys",
            description="Keys a second that Redis threw away for want of memory. Messages among them are sent again, "
            "later.",
            unit="ops",
            queries=(Query(expr=highest_rate(Metrics.redis_evicted_keys)),),
            steps=((0.001, "red"),),
        ),
    ),
)

_POSTGRES: Final = Row(
    "PostgreSQL",
    (
        Series(
            title="Connections",
            description="Connections to the server, and how many ordinary roles may have.",
            unit="short",
            queries=(
                Query(expr=highest(Metrics.postgres_connections), legend="open"),
                Query(expr=highest(Metrics.postgres_connections_max), legend="granted"),
            ),
            links=(_RELAY_LOGS,),
        ),
        Series(
            title="Transactions",
            description="Transactions a second in our database, by how they ended.",
            unit="ops",
            queries=(Query(expr=highest_rate(Metrics.postgres_transactions, by=("outcome",)), legend="{{outcome}}"),),
        ),
        Series(
            title="Oldest transaction",
            description="Age of the oldest open transaction of our role.",
            unit="s",
            queries=(Query(expr=highest(Metrics.postgres_oldest_transaction), legend="oldest"),),
        ),
        Series(
            title="Locks and deadlocks",
            description="Connections of our role that wait for a lock, and deadlocks a second in our database.",
            unit="none",
            queries=(
                Query(expr=highest(Metrics.postgres_lock_waits), legend="waiting for a lock"),
                Query(expr=highest_rate(Metrics.postgres_deadlocks), legend="deadlocks a second"),
            ),
            links=(_RELAY_LOGS,),
        ),
        Series(
            title="Found in buffers",
            description="Share of the blocks that PostgreSQL found in its own buffers. Well below 0.99, what is "
            "worked on does "
            "not fit in.",
            unit="percentunit",
            queries=(Query(expr=f"{_FOUND} / {_BLOCKS}", legend="found"),),
            highest=1,
        ),
        Series(
            title="Write-ahead log",
            description="What the server writes to its log, a second; it tells how much is written in all.",
            unit="Bps",
            queries=(Query(expr=highest_rate(Metrics.postgres_wal), legend="written"),),
        ),
        Series(
            title="Dead rows",
            description="Share of each table's rows that wait for vacuum, by PostgreSQL's estimate. It cleans up from "
            "a few "
            "hundredths on.",
            unit="percentunit",
            queries=(
                Query(
                    expr=f"{highest(Metrics.postgres_table_rows, by=('table',), state='dead')} / "
                    f"(sum by (table) ({highest(Metrics.postgres_table_rows, by=('table', 'state'))}) > 0)",
                    legend="{{table}}",
                ),
            ),
            steps=((0.2, "red"),),
        ),
        Series(
            title="Rows",
            description="Rows of each table, by PostgreSQL's estimate.",
            unit="short",
            queries=(
                Query(expr=highest(Metrics.postgres_table_rows, by=("table",), state="live"), legend="{{table}}"),
            ),
        ),
        Series(
            title="Size",
            description="Our database on disk.",
            unit="bytes",
            queries=(Query(expr=highest(Metrics.postgres_database_size), legend="size"),),
        ),
    ),
)

_REDIS: Final = Row(
    "Redis",
    (
        Series(
            title="Messages that wait",
            description="Messages in each queue that no worker has fetched. A message may name many runs, and a "
            "backlog waits "
            "in PostgreSQL.",
            unit="short",
            queries=(Query(expr=highest(Metrics.redis_queue_messages, by=("queue",)), legend="{{queue}}"),),
        ),
        Series(
            title="Unacknowledged messages",
            description="Messages that workers have fetched and are at work on.",
            unit="short",
            queries=(Query(expr=highest(Metrics.redis_unacknowledged), legend="unacknowledged"),),
        ),
        Series(
            title="Memory",
            description="Memory that Redis uses, and may use; a limit of 0 is none.",
            unit="bytes",
            queries=(
                Query(expr=highest(Metrics.redis_memory_used), legend="used"),
                Query(expr=highest(Metrics.redis_memory_max), legend="limit"),
            ),
        ),
        Series(
            title="Commands",
            description="Commands that Redis executes a second.",
            unit="ops",
            queries=(Query(expr=highest_rate(Metrics.redis_commands), legend="commands"),),
        ),
        Series(
            title="Clients",
            description="Connections of clients to Redis.",
            unit="short",
            queries=(Query(expr=highest(Metrics.redis_connected_clients), legend="clients"),),
        ),
        Series(
            title="What Redis could not do",
            description="Evicted keys, refused connections, and messages that the relays could not send, a second.",
            unit="ops",
            queries=(
                Query(expr=highest_rate(Metrics.redis_evicted_keys), legend="evicted keys"),
                Query(expr=highest_rate(Metrics.redis_rejected_connections), legend="refused connections"),
                Query(expr=or_zero(rate(Metrics.publish_errors)), legend="messages not sent"),
            ),
            links=(_RELAY_LOGS,),
        ),
    ),
)

STORES: Final = Board(
    uid="throughline-stores",
    title="Throughline / PostgreSQL and Redis",
    description="Both stores as the relays see them; no exporter is needed.",
    rows=(_NOW, _POSTGRES, _REDIS),
)
