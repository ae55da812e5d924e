import contextlib
import errno
import random
import socket
import sys
from pathlib import Path

from throughline.errors import PortTaken

_LOWEST = 15_000
_EPHEMERAL = 32_768
_TRIES = 200


def port_is_free(port: int, *, host: str = "127.0.0.1", setting: str | None = None) -> bool:
    """Say whether a server could listen on this port now.

    Raises:
        PortTaken: it couldn't, for another reason than that somebody does; names ``setting``, which says where.

    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            place = f" ({setting})" if setting else ""
            raise PortTaken(f"port {port} of {host} can't be listened on: {error.strerror}{place}") from error
        except OverflowError:
            raise PortTaken(f"port {port} can't be listened on: ports end at 65535") from None
    return True


def free_port() -> int:
    """Return a loopback port that was free a moment ago, below the range of outgoing connections.

    A port in that range could be taken by any client; even by one that keeps trying to reach the server while it
    restarts, and is connected to itself.
    """
    lowest = _first_ephemeral_port()
    for port in random.sample(range(_LOWEST, lowest), k=min(_TRIES, max(lowest - _LOWEST, 0))):
        if port_is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_taken(port: int, *, server: str, setting: str | None) -> PortTaken:
    """Return the error that names the port, who wanted it, and what to set to choose another."""
    mend = f"set {setting} to another port" if setting else "choose another port"
    return PortTaken(f"port {port}, which {server} is to listen on, is taken by another process: stop it, or {mend}")


def _first_ephemeral_port() -> int:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError):
            return max(int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]), _LOWEST)
    return _EPHEMERAL
