import asyncio
import time

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from settings import DatabaseSettings
from storage.bounded import bounded_transaction
from storage.engine import DatabaseUnavailable, create_engine
from tests.support.tcp_proxy import Mode, TcpProxy, tcp_proxy


async def _stopped_in_the_middle(engine: AsyncEngine, proxy: TcpProxy) -> None:
    async with bounded_transaction(engine, within=0.3) as connection:
        await connection.execute(text("INSERT INTO t VALUES (1)"))
        proxy.switch(Mode.SWALLOW)
        await connection.execute(text("SELECT 1"))


async def test_a_transaction_ends_in_time_when_the_server_stops_answering_and_the_pool_heals(
    database_url: str,
) -> None:
    async with tcp_proxy(database_url) as proxy:
        engine = create_engine(DatabaseSettings(url=SecretStr(proxy.url)), application="test", pool_size=1)
        async with bounded_transaction(engine, within=5) as connection:
            await connection.execute(text("CREATE TABLE t (n int)"))
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await _stopped_in_the_middle(engine, proxy)
        assert time.monotonic() - began < 1.0
        proxy.switch(Mode.PASS)
        async with bounded_transaction(engine, within=5) as connection:
            assert (await connection.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0
        await engine.dispose()


async def test_waiting_for_a_connection_counts(database_url: str) -> None:
    engine = create_engine(DatabaseSettings(url=SecretStr(database_url)), application="test", pool_size=1)
    async with bounded_transaction(engine, within=5), asyncio.timeout(1):
        with pytest.raises(DatabaseUnavailable):
            async with bounded_transaction(engine, within=0.2):
                raise AssertionError("two transactions on one connection")
    await engine.dispose()
