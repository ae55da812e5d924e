"""What holds for both embedded servers; each is a real one."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.system import eventually
from throughline.embedded import EmbeddedPostgres, EmbeddedRedis, EmbeddedServer, free_port
from throughline.embedded.processes import descendants, wait_gone
from throughline.errors import FolderInUse, FolderUnusable, PortTaken

_KINDS: list[type[EmbeddedServer]] = [EmbeddedPostgres, EmbeddedRedis]


@pytest.fixture(params=_KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[EmbeddedServer]:
    found: type[EmbeddedServer] = request.param
    return found


@pytest.fixture(scope="module", params=_KINDS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    found: EmbeddedServer = request.param(tmp_path_factory.mktemp("a server's, with spaces"))
    with found:
        yield found


def _connections(process: psutil.Process) -> list[Any]:
    """Return its connections; none of a process that has just ended, as PostgreSQL's short-lived workers do."""
    try:
        return list(process.net_connections("inet"))
    except psutil.NoSuchProcess:
        return []


def test_it_listens_on_loopback_alone(server: EmbeddedServer) -> None:
    listening = [
        connection.laddr.ip
        for process in (psutil.Process(server.pid), *descendants(server.pid))
        for connection in _connections(process)
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


def test_the_password_is_in_no_command_line_and_its_file_is_the_owners_alone(server: EmbeddedServer) -> None:
    assert server.password in server.url
    assert server.password not in " ".join(psutil.Process(server.pid).cmdline())
    secrets = [path for path in server.data_dir.iterdir() if path.is_file() and server.password in path.read_text()]
    assert server.data_dir / "password" in secrets
    assert [path.name for path in secrets if path.stat().st_mode & 0o077] == []


def test_a_second_server_over_its_folder_is_refused_and_the_first_lives_on(server: EmbeddedServer) -> None:
    with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"):
        type(server)(server.data_dir).start()
    assert server.ready()


def test_a_paused_server_keeps_its_clients_waiting_until_it_is_resumed(server: EmbeddedServer) -> None:
    server.pause()
    process = psutil.Process(server.pid)
    # The kernel stops a process that runs on another core when it next looks, not when it is told to.
    eventually(lambda: process.status() == psutil.STATUS_STOPPED, timeout=5.0, what="the server stops")
    server.resume()
    assert server.ready()


def test_a_killed_server_starts_again_on_its_port(server: EmbeddedServer) -> None:
    port, children = server.port, descendants(server.pid)
    server.kill()
    assert server.exit_code() == -9
    assert wait_gone(children, timeout=0)
    server.start()
    assert server.port == port


def test_a_paused_server_can_be_stopped_and_another_session_takes_its_folder(server: EmbeddedServer) -> None:
    server.pause()
    server.stop()
    assert server.exit_code() == 0
    with type(server)(server.data_dir) as other:
        assert other.password == server.password
    server.start()


def test_a_taken_port_is_an_error_that_names_it_and_the_setting(kind: type[EmbeddedServer], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"{port}.*SOME_PORT"):
            kind(tmp_path, port=port, port_setting="SOME_PORT").start()


def test_a_free_port_that_is_lost_before_the_server_has_it_is_replaced(
    kind: type[EmbeddedServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        stolen, other = thief.getsockname()[1], free_port()
        offers = iter([stolen, other])
        monkeypatch.setattr("throughline.embedded.server.free_port", lambda: next(offers))
        answers = iter([True])  # free when asked, lost when the server comes
        monkeypatch.setattr(
            "throughline.embedded.server.port_is_free", lambda port: next(answers, False) or port == other
        )
        with kind(tmp_path) as server:
            assert server.port == other


def test_a_folder_that_cant_be_made_is_an_error_that_names_it(kind: type[EmbeddedServer], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match="file/data"):
        kind(tmp_path / "file" / "data").start()
