import socket
from pathlib import Path

import pytest

from events import ThroughlineError
from settings import RedisSettings, Settings
from throughline.embedded import DataFolder, ExternalServer, free_port
from throughline.local import LocalStack, StackPlan
from throughline.local.redis import redis_trouble
from throughline.supervision import Progress, Supervisor


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://me:hunter2@db.example:5433/x?sslmode=require", "db.example:5433"),
        ("postgresql+asyncpg://me@[::1]:5433/x", "[::1]:5433"),
        ("rediss://:hunter2@cache.example/0", "cache.example"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
        ("postgresql:///x?host=/run/postgresql", "URL"),
        ("postgresql://me:hunter2@one:1,two:2/x", "URL"),
        ("postgresql://me:1/hunter2@db/x", "URL"),
        ("postgresql://me:hunter2@3/4@db/x", "URL"),
    ],
)
def test_a_server_is_named_by_its_place_and_never_with_a_part_of_its_password(url: str, place: str) -> None:
    server = ExternalServer(name="postgres", url=url, setting="URL")
    assert server.place == place
    assert "hunter2" not in repr(server)


def test_servers_of_others_are_named_and_neither_started_nor_stopped(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    plan = StackPlan(
        database_url=f"postgresql://me:hunter2@{nobody}/x", redis_url=f"redis://{nobody}/0", free_ports=True
    )
    stack = LocalStack(Settings(), plan, folder=DataFolder(tmp_path))
    said: list[str] = []
    told: list[Progress] = []
    with Supervisor(report=told.append) as supervisor, pytest.raises(ThroughlineError, match="PostgreSQL at"):
        stack.start(supervisor, say=said.append)
    assert said[:2] == [f"postgres: using {nobody}", f"redis: using {nobody}"]
    assert told == []


def test_a_redis_that_does_not_answer_is_told_without_its_password() -> None:
    url = f"redis://me:hunter2@127.0.0.1:{free_port()}/0"
    said = redis_trouble(RedisSettings(url=url), place="127.0.0.1:1")
    assert said == "Redis at 127.0.0.1:1 doesn't answer; events wait until it does"


def test_a_redis_that_says_nothing_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        said = redis_trouble(RedisSettings(url=url, socket_timeout=0.2), place="there")
    assert said == "Redis at there doesn't answer; events wait until it does"
