import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from throughline import probe
from throughline.embedded import free_port


@contextmanager
def server(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server of one answer; yields its port, and what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], asked
        thread.join(5)


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\n\r\n", False),
        (b"what?\r\n", False),
        (b"", False),
    ],
)
def test_only_a_2xx_is_well(answer: bytes, *, well: bool) -> None:
    with server(answer) as (port, asked):
        assert probe.answers(port, "/health/ready") is well
    assert asked[0].startswith(b"GET /health/ready HTTP/1.0\r\n")


def test_without_a_path_a_connection_is_enough_and_none_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert probe.answers(listening.getsockname()[1])
    assert not probe.answers(free_port())
    assert not probe.answers(free_port(), "/")


def test_as_a_file_it_needs_nothing_of_the_project() -> None:
    file = Path(probe.__file__).resolve()
    command = [sys.executable, "-IS", str(file)]
    assert subprocess.run([*command, str(free_port())], cwd="/", check=False).returncode == 1
    with server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
        assert subprocess.run([*command, str(port), "/"], cwd="/", check=False).returncode == 0
