import socket
import threading
from collections.abc import Iterator

import pytest

from throughline.chaos.background import Background
from throughline.chaos.proxy import Path, TcpProxy


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    """A proxy before a server that echoes."""
    with Background() as background, socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        made = TcpProxy(background, server.getsockname()[1])
        made.start()
        yield made


def _echo(server: socket.socket) -> None:
    try:
        while True:
            connection, _ = server.accept()
            with connection:
                while chunk := connection.recv(100):
                    connection.sendall(chunk)
    except OSError:
        return


def echoed(connection: socket.socket) -> bytes:
    connection.settimeout(0.5)
    connection.sendall(b"x")
    return connection.recv(1)


def test_open_way_swallows_nothing(proxy: TcpProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert echoed(connection) == b"x"
    assert proxy.swallowed == 0


def test_black_hole_swallows_and_counts_and_stays_one_for_what_was_open(proxy: TcpProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        echoed(connection)
        proxy.switch(Path.BLACK_HOLE)
        with pytest.raises(TimeoutError):
            echoed(connection)
        assert proxy.swallowed == 1
        proxy.switch(Path.OPEN)
        with pytest.raises(TimeoutError):
            echoed(connection)


def test_refusal_is_counted(proxy: TcpProxy) -> None:
    proxy.switch(Path.REFUSED)
    with (
        pytest.raises((ConnectionError, AssertionError)),
        socket.create_connection(("127.0.0.1", proxy.port)) as connection,
    ):
        assert echoed(connection) == b"x"
    assert proxy.swallowed == 1
