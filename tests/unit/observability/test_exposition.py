import socket
import urllib.request

import pytest

from events import ConfigurationError
from observability.metrics import Metrics, process_registry, serve_metrics

SETTINGS = "THROUGHLINE_RELAY_METRICS"


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
    server = serve_metrics(registry, host="127.0.0.1", port=port, settings=SETTINGS)
    body = _get(port)
    server.close()
    server.close()
    assert server.port is None
    assert "throughline_dead_runs 3.0\n" in body
    for expected in ("process_resident_memory_bytes", "python_info", "python_gc_collections_total"):
        assert expected in body
    with pytest.raises(OSError, match="refused"):
        _get(port)


def test_a_port_that_is_taken_is_told_by_its_number_and_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf":{port}: .*in use \(THROUGHLINE_RELAY_METRICS_PORT\)"):
            serve_metrics(process_registry(), host="127.0.0.1", port=port, settings=SETTINGS)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_told_with_its_variable(host: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{host}.*\(THROUGHLINE_RELAY_METRICS_HOST\)"):
        serve_metrics(process_registry(), host=host, port=_free_port(), settings=SETTINGS)


def test_port_0_serves_nothing() -> None:
    server = serve_metrics(process_registry(), host="127.0.0.1", port=0, settings=SETTINGS)
    assert server.port is None
    server.close()
