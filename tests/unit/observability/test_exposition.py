import socket
import urllib.request

import pytest

from events import ConfigurationError
from observability.metrics import Metrics, process_registry, serve_metrics


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _get(port: int) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics") as got:
        body: bytes = got.read()
        return body.decode()


def test_metrics_are_served_beside_those_of_the_process_until_closed() -> None:
    registry, port = process_registry(), _free_port()
    Metrics(registry).dead_runs.labels().set(3)
    server = serve_metrics(registry, host="127.0.0.1", port=port)
    body = _get(port)
    server.close()
    server.close()
    assert server.port is None
    assert "throughline_dead_runs 3.0\n" in body
    for expected in ("process_resident_memory_bytes", "python_info", "python_gc_collections_total"):
        assert expected in body
    with pytest.raises(OSError, match="refused"):
        _get(port)


def test_a_port_that_is_taken_is_told_by_its_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)):
            serve_metrics(process_registry(), host="127.0.0.1", port=port)


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no-such-host"):
        serve_metrics(process_registry(), host="no-such-host.invalid", port=_free_port())


def test_port_0_serves_nothing() -> None:
    server = serve_metrics(process_registry(), host="127.0.0.1", port=0)
    assert server.port is None
    server.close()
