import http.client
import socket
from collections.abc import Callable
from urllib.parse import urlsplit


def http_ok(url: str, *, timeout: float = 1.0) -> Callable[[], bool]:
    """Return a check that GETs ``url`` and wants a 2xx; straight to the host, whatever proxy the environment names."""
    parts = urlsplit(url)

    def check() -> bool:
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
        try:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else "") or "/")
            return connection.getresponse().status // 100 == 2  # noqa: PLR2004 - the class of successes
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def port_open(port: int, *, timeout: float = 0.5) -> bool:
    """Say whether somebody accepts connections on this loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout):
            return True
    except OSError:
        return False
