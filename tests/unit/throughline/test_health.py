import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from throughline.embedded import free_port
from throughline.supervision import http_ok, port_open


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready?deep=1" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_2xx_is_healthy_and_anything_else_is_not(port: int) -> None:
    assert http_ok(f"http://127.0.0.1:{port}/ready?deep=1")()
    assert not http_ok(f"http://127.0.0.1:{port}/")()


def test_nobody_there_is_not_healthy() -> None:
    port = free_port()
    assert not http_ok(f"http://127.0.0.1:{port}/")()
    assert not port_open(port)


def test_a_proxy_in_the_environment_is_not_asked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert http_ok(f"http://127.0.0.1:{port}/ready?deep=1")()
