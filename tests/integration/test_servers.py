"""The test servers themselves: what every other integration test relies on."""

import asyncpg
import pytest
import redis

from migrations.run import SchemaState, schema_state
from settings import DatabaseSettings


async def test_database_url_is_a_migrated_database(database_url: str) -> None:
    assert await schema_state(DatabaseSettings(url=database_url)) is SchemaState.CURRENT


async def test_empty_database_url_is_not_migrated(empty_database_url: str) -> None:
    assert await schema_state(DatabaseSettings(url=empty_database_url)) is SchemaState.EMPTY


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_database_of_its_own(database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"CREATE TABLE left_behind AS SELECT {turn} AS turn")
    finally:
        await connection.close()


@pytest.mark.parametrize("turn", [1, 2])
def test_redis_is_empty_at_the_start_of_each_test(redis_url: str, turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("turn", turn)


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
async def test_a_commit_is_on_disk_in_tests_too(empty_database_url: str, setting: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval(f"SHOW {setting}") == "on"
    finally:
        await connection.close()


async def test_the_database_is_utf8_with_passwords_by_scram(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SHOW password_encryption") == "scram-sha-256"
    finally:
        await connection.close()
