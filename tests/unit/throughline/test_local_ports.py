import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from settings import Settings, load_settings
from throughline.embedded import DataFolder, free_port
from throughline.errors import PortTaken
from throughline.local import LocalStack, StackPlan
from throughline.local.ports import cell_port, listeners, metrics_of_workers, require_free_ports, require_own_ports
from throughline.supervision import Supervisor

PORTS = (
    "THROUGHLINE_API_PORT",
    "THROUGHLINE_FLOWER_PORT",
    "THROUGHLINE_RELAY_METRICS_PORT",
    "THROUGHLINE_WORKER_METRICS_PORT",
)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in PORTS:
        monkeypatch.setenv(setting, str(free_port()))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("setting", PORTS)
def test_a_taken_port_is_named_with_its_setting_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: int, setting: str
) -> None:
    require_free_ports(load_settings(), workers=1)
    monkeypatch.setenv(setting, str(taken))
    stack = LocalStack(load_settings(), StackPlan(), folder=DataFolder(tmp_path))
    with pytest.raises(PortTaken, match=rf"port {taken}\b.*{setting}"):
        stack.start(cast("Supervisor", None), say=lambda _: None)


@pytest.mark.parametrize(
    ("settings", "plan", "named"),
    [
        (
            {"api": {"port": 9802}, "worker": {"metrics_port": 9802}},
            StackPlan(),
            "THROUGHLINE_API_PORT THROUGHLINE_WORKER_METRICS",
        ),
        (
            {"api": {"port": 9802}, "worker": {"metrics_port": 9800}},
            StackPlan(),
            "THROUGHLINE_API_PORT THROUGHLINE_WORKER_METRICS",
        ),
        (
            {"flower": {"port": 9802}, "relay": {"metrics_port": 9802}},
            StackPlan(),
            "FLOWER_PORT THROUGHLINE_RELAY_METRICS_PORT",
        ),
        ({"api": {"port": 9802, "host": "0.0.0.0"}}, StackPlan(redis_port=9802), "--redis-port THROUGHLINE_API_PORT"),
        ({}, StackPlan(redis_port=9802, postgres_port=9802), "--postgres-port --redis-port"),
    ],
)
def test_a_port_that_is_wanted_twice_is_named_with_both_settings_before_anything_starts(
    tmp_path: Path, settings: dict[str, Any], plan: StackPlan, named: str
) -> None:
    stack = LocalStack(Settings.model_validate(settings), plan, folder=DataFolder(tmp_path))
    one, other = named.split()
    with pytest.raises(PortTaken, match=rf"port 9802 is wanted twice, by .*{one}.* and .*{other}"):
        stack.start(cast("Supervisor", None), say=lambda _: None)


def test_the_same_port_of_two_addresses_is_no_clash_and_neither_are_free_ones() -> None:
    apart = Settings.model_validate(
        {"api": {"port": 9802, "host": "127.0.0.2"}, "relay": {"metrics_port": 9802}, "worker": {"metrics_port": 9810}}
    )
    require_own_ports(listeners(apart, workers=2))
    require_own_ports(listeners(_quiet(), workers=2))


def test_the_second_workers_port_is_looked_at_too(taken: int) -> None:
    with pytest.raises(PortTaken, match="worker"):
        require_free_ports(_quiet(worker_metrics_port=taken - 1), workers=2)


@pytest.mark.parametrize(
    ("settings", "ports"),
    [({}, range(9102, 9106)), ({"pool": "prefork", "concurrency": 2}, range(9102, 9110))],
)
def test_each_worker_has_a_port_each_prefork_child_another_and_the_cell_two(
    settings: dict[str, Any], ports: range
) -> None:
    found = listeners(Settings.model_validate({"worker": settings}), workers=2)
    assert [listener.port for listener in found if listener.server == "worker"] == list(ports)


@pytest.mark.parametrize(
    ("settings", "workers", "cell"),
    [({}, [9102, 9103], 9104), ({"pool": "prefork", "concurrency": 2}, [9103, 9104, 9106, 9107], 9108)],
)
def test_metrics_are_where_the_processes_serve_them(settings: dict[str, Any], workers: list[int], cell: int) -> None:
    chosen = Settings.model_validate({"worker": settings})
    assert metrics_of_workers(chosen, workers=2) == workers
    assert cell_port(chosen, workers=2) == cell


def test_metrics_that_are_served_nowhere_need_no_port() -> None:
    assert {listener.server for listener in listeners(_quiet(), workers=1)} == {"api", "flower"}


@pytest.mark.parametrize(
    "settings",
    [{"api": {"host": "192.0.2.1"}}, {"worker": {"metrics_port": 65535}}, {"api": {"host": "no.such.host.invalid"}}],
)
def test_an_address_that_cant_be_had_is_told_in_a_line(settings: dict[str, Any]) -> None:
    quiet = {"flower": {"port": 0}, "api": {"port": 0}, "relay": {"metrics_port": 0}, "worker": {"metrics_port": 0}}
    with pytest.raises(PortTaken, match="can't be listened on"):
        require_free_ports(Settings.model_validate(quiet | settings), workers=2)


def _quiet(*, worker_metrics_port: int = 0) -> Settings:
    """Settings that want no port but the workers'."""
    return Settings.model_validate(
        {
            "api": {"port": 0},
            "flower": {"port": 0},
            "relay": {"metrics_port": 0},
            "worker": {"metrics_port": worker_metrics_port},
        }
    )
