from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from throughline.embedded import EmbeddedRedis, started_redis_url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(server.url, decode_responses=True) as found:
        yield found


def test_who_has_the_folder_finds_the_server_that_was_started_there(tmp_path: Path) -> None:
    assert started_redis_url(tmp_path) is None
    with EmbeddedRedis(tmp_path / "redis") as server:
        assert started_redis_url(tmp_path) == server.url


def test_without_the_password_it_does_nothing(server: EmbeddedRedis) -> None:
    with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_it_never_evicts_and_syncs_its_file_every_second(client: "redis.Redis") -> None:
    wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "save": ""}
    assert {key: client.config_get(key)[key] for key in wanted} == wanted


def test_what_it_held_is_there_after_a_restart(server: EmbeddedRedis, client: "redis.Redis") -> None:
    client.set("kept", "yes")
    server.restart()
    assert client.get("kept") == "yes"


def test_another_server_on_its_port_is_not_taken_for_it(
    server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = EmbeddedRedis(tmp_path_factory.mktemp("stranger"), port=server.port)
    stranger._make_password()
    assert not stranger.ready()
