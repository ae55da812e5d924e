import errno
import socket
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.exposition import choose_encoder

from events import ConfigurationError


class MetricsPortError(ConfigurationError):
    """The port for /metrics can't be listened on."""


def process_registry() -> CollectorRegistry:
    """Return a new registry that tells of this process, the interpreter and its garbage collector.

    One a process: prometheus_client's multiprocess mode would drop exemplars and leave the files of dead processes.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """Return the body and content type of /metrics. Only OpenMetrics, when ``accept`` asks for it, has exemplars."""
    encode, content_type = choose_encoder(accept or "")
    return encode(registry), content_type


class MetricsServer:
    """A running /metrics endpoint, or the lack of one."""

    def __init__(self, server: WSGIServer | None) -> None:
        self._server = server

    @property
    def port(self) -> int | None:
        """The port it listens on."""
        return self._server.server_port if self._server else None

    def close(self) -> None:
        """Stop listening. Closing twice does nothing."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()


def serve_metrics(registry: CollectorRegistry, *, host: str, port: int, settings: str) -> MetricsServer:
    """Serve ``registry`` from a daemon thread; port 0 serves nothing.

    ``settings`` is what the variables of host and port begin with, such as ``THROUGHLINE_RELAY_METRICS``.

    Raises:
        MetricsPortError: another process listens there, or the address is not ours; names the variable to set.

    """
    if port == 0:
        return MetricsServer(None)
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except (OSError, socket.gaierror) as error:
        elsewhere = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        variable = f"{settings}_{'HOST' if elsewhere else 'PORT'}"
        said = f"can't serve metrics on {host}:{port}: {error.strerror or error} ({variable})"
        raise MetricsPortError(said) from error
    return MetricsServer(server)
