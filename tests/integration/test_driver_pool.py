import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import SecretStr

from settings import DatabaseSettings
from storage.driver_pool import DriverPool
from storage.engine import DatabaseUnavailable
from tests.support.tcp_proxy import Mode, tcp_proxy


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[DriverPool]:
    made = DriverPool(DatabaseSettings(url=SecretStr(database_url)), application="test")
    yield made
    await made.close()


def nothing() -> None:
    """Let it commit."""


async def pid(pool: DriverPool) -> int:
    async with pool.transaction(within=5.0, before_commit=nothing) as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def test_a_connection_is_used_again(pool: DriverPool) -> None:
    assert await pid(pool) == await pid(pool)


async def test_one_that_is_opened_in_advance_does_not_take_the_place_of_one_that_knows_its_statements(
    pool: DriverPool,
) -> None:
    used = await pid(pool)
    await pool.warm(1)
    assert await pid(pool) == used


async def test_a_connection_that_the_server_ended_costs_one_transaction_at_most(
    pool: DriverPool, database_url: str
) -> None:
    ended = await pid(pool)
    other = await asyncpg.connect(database_url)
    try:
        await other.execute("SELECT pg_terminate_backend($1)", ended)
        try:
            assert await pid(pool) != ended
        except DatabaseUnavailable:
            assert await pid(pool) != ended
    finally:
        await other.close()


async def test_a_server_that_falls_silent_ends_a_transaction_in_time_and_the_pool_heals(database_url: str) -> None:
    async with tcp_proxy(database_url) as proxy:
        pool = DriverPool(DatabaseSettings(url=SecretStr(proxy.url)), application="test")
        ended = await pid(pool)
        proxy.switch(Mode.SWALLOW)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            async with pool.transaction(within=0.5, before_commit=nothing) as connection:
                await connection.fetchval("SELECT 1")
        with pytest.raises(DatabaseUnavailable):
            await pool.execute("SELECT 1", within=0.5)
        assert time.monotonic() - began < 5.0
        proxy.switch(Mode.REFUSE)
        proxy.switch(Mode.PASS)
        assert await pid(pool) != ended
        await pool.close()


async def test_a_transaction_that_is_cancelled_leaves_no_busy_connection_behind(pool: DriverPool) -> None:
    first = await pid(pool)

    async def linger() -> None:
        async with pool.transaction(within=30.0, before_commit=nothing) as connection:
            await connection.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(linger())
    await asyncio.sleep(0.2)  # it is within its statement, or about to be: both must do
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pid(pool) != first
