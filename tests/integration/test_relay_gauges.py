"""What the relay tells of PostgreSQL and Redis, while they are well and while they are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from observability.metrics import Metrics
from storage import server
from storage.engine import transaction
from storage.tables import metadata
from tests.support.relaying import World, until
from tests.support.tcp_proxy import Mode, TcpProxy, tcp_proxy
from worker.relay import postgres_gauges, redis_gauges
from worker.relay.redis_gauges import RedisGauges

OF_REDIS = ("memory_used_bytes", "memory_max_bytes", "connected_clients", "evicted_keys_total", "commands_total")
OF_POSTGRES = ("connections", "connections_max", "deadlocks_total", "oldest_transaction_seconds", "wal_bytes_total")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (postgres_gauges, redis_gauges):
        monkeypatch.setattr(module, "_SECONDS", 0.05)
        monkeypatch.setattr(module, "_WITHIN", 2.0)


class Reader:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"throughline_{name}", labels)

    def up(self, store: str, value: int, *, others: tuple[str, ...]) -> bool:
        """Whether this store is told to be up or away, and the others of its readings to be there or absent with it."""
        there = [self(f"{store}_{name}") is not None for name in others]
        return self(f"{store}_up") == value and (all(there) if value else not any(there))


async def test_before_the_first_look_there_is_no_series_of_a_store(registry: CollectorRegistry) -> None:
    Metrics(registry)
    names = {sample.name for metric in registry.collect() for sample in metric.samples}
    assert not [name for name in names if name.startswith(("throughline_redis", "throughline_postgres"))]


async def test_what_postgresql_tells_is_shown(world: World, registry: CollectorRegistry) -> None:
    read = Reader(registry)
    await world.store(5)
    await world.value("WITH gone AS (SELECT pg_stat_force_next_flush()) SELECT count(*) FROM gone")
    async with world.relay(metrics=Metrics(registry)), transaction(world.engine) as connection:
        await connection.execute(text("SELECT 1"))
        await until(lambda: (read("postgres_oldest_transaction_seconds") or 0.0) > 0.2)
        assert read("postgres_up") == 1
        most = await world.value(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        )
        assert 0 < (read("postgres_connections") or 0) <= most
        assert read("postgres_connections_max") == most
        assert read("postgres_deadlocks_total") == 0
        assert read("postgres_lock_waits") == 0
        assert (read("postgres_transactions_total", outcome="committed") or 0) > 0
        assert (read("postgres_blocks_total", source="buffers") or 0) > 0
        assert (read("postgres_database_size_bytes") or 0) > 1_000_000
        for table in metadata.tables:
            assert read("postgres_table_rows", table=table, state="live") is not None, table
        written = read("postgres_wal_bytes_total") or 0
        await world.store(100)
        await until(lambda: (read("postgres_wal_bytes_total") or 0) > written)


async def test_a_lock_that_is_waited_for_is_shown(world: World, registry: CollectorRegistry) -> None:
    read = Reader(registry)
    await world.store(1)
    lock = text("SELECT * FROM events FOR UPDATE NOWAIT")
    async with world.relay(metrics=Metrics(registry)), transaction(world.engine) as connection:
        await connection.execute(lock)

        async def wait_in_vain() -> None:
            async with transaction(world.engine) as other:
                await other.execute(text("SET LOCAL lock_timeout = '2s'"))
                await other.execute(text("SELECT * FROM events FOR UPDATE"))

        waiting = asyncio.create_task(wait_in_vain())
        await until(lambda: read("postgres_lock_waits") == 1)
        with pytest.raises(DBAPIError, match="lock timeout"):
            await waiting


async def test_a_role_that_may_nothing_can_tell(world: World) -> None:
    async with transaction(world.engine) as connection:
        await connection.execute(text("DROP ROLE IF EXISTS gauge_reader"))
        await connection.execute(text("CREATE ROLE gauge_reader"))
        await connection.execute(text("SET LOCAL ROLE gauge_reader"))
        state = await server.server_state(connection)
        rows = await server.table_rows(connection)
        await connection.execute(text("RESET ROLE"))
        await connection.execute(text("DROP ROLE gauge_reader"))
    assert state.connections > 0
    assert state.wal
    assert set(rows) == set(metadata.tables)


async def test_what_redis_tells_is_shown(world: World, registry: CollectorRegistry) -> None:
    read = Reader(registry)
    await world.store(3)
    world.redis.hset("unacked", "tag", "message")
    async with world.relay(metrics=Metrics(registry)):
        await until(lambda: read("redis_queue_messages", queue="default") == 3)
        assert read("redis_queue_messages", queue=world.settings.worker.cell_queue) == 0
        assert read("redis_unacknowledged_messages") == 1
        assert read("redis_up") == 1
        assert read("redis_memory_max_bytes") == int(world.redis.config_get("maxmemory")["maxmemory"])  # type: ignore[index]  # sync client
        assert (read("redis_memory_used_bytes") or 0) > 100_000
        assert (read("redis_connected_clients") or 0) >= 2
        assert read("redis_evicted_keys_total") == 0
        assert read("redis_rejected_connections_total") == 0
        executed = read("redis_commands_total") or 0
        await until(lambda: (read("redis_commands_total") or 0) > executed)


async def test_what_redis_refuses_to_tell_is_absent_and_it_is_up(
    redis_url: str, world: World, registry: CollectorRegistry
) -> None:
    world.redis.acl_setuser("teller", enabled=True, nopass=True, keys=["*"], commands=["+ping", "+llen"])
    client = Redis.from_url(redis_url, username="teller", password="any")
    try:
        await RedisGauges(client, queues=lambda: ["default"], metrics=Metrics(registry)).run_once()
    finally:
        await client.aclose()
        world.redis.acl_deluser("teller")
    read = Reader(registry)
    assert read("redis_up") == 1
    assert read("redis_queue_messages", queue="default") == 0
    assert [name for name in (*OF_REDIS, "unacknowledged_messages") if read(f"redis_{name}") is not None] == []


@asynccontextmanager
async def away_and_back(
    proxy: TcpProxy, fault: Mode, read: Reader, store: str, others: tuple[str, ...]
) -> AsyncIterator[None]:
    """Take ``store`` away; the block runs while the relay has told so, and then it comes back."""
    await until(lambda: read.up(store, 1, others=others))
    proxy.switch(fault)
    await until(lambda: read.up(store, 0, others=others), within=15.0)
    yield
    proxy.switch(Mode.PASS)
    await until(lambda: read.up(store, 1, others=others), within=15.0)


@pytest.mark.parametrize("fault", [Mode.REFUSE, Mode.SWALLOW])
async def test_a_redis_that_is_away_is_told_and_nothing_else_of_it(
    database_url: str, redis_url: str, registry: CollectorRegistry, fault: Mode
) -> None:
    read = Reader(registry)
    async with tcp_proxy(redis_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        away = {"url": SecretStr(proxy.url)}
        async with (
            world.relay(redis=away, metrics=Metrics(registry)),
            away_and_back(proxy, fault, read, "redis", OF_REDIS),
        ):
            assert read("redis_queue_messages", queue="default") is None
            await until(lambda: read.up("postgres", 1, others=OF_POSTGRES))


@pytest.mark.parametrize("fault", [Mode.REFUSE, Mode.SWALLOW])
async def test_a_postgresql_that_is_away_is_told_and_nothing_else_of_it(
    database_url: str, redis_url: str, registry: CollectorRegistry, fault: Mode
) -> None:
    read = Reader(registry)
    async with tcp_proxy(database_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        away = {"url": SecretStr(proxy.url)}
        async with (
            world.relay(database=away, metrics=Metrics(registry)),
            away_and_back(proxy, fault, read, "postgres", OF_POSTGRES),
        ):
            assert read("postgres_table_rows", table="runs", state="dead") is None
            await until(lambda: read.up("redis", 1, others=OF_REDIS))
