"""A container's health check, run as a file of its own: ``python -IS probe.py PORT [PATH]``, some 20 ms of CPU.

Ends with 0 if ``PORT`` of this machine takes a connection and, where a path is given, answers a GET of it with a 2xx.
It imports nothing of the project, whose start would cost more than what is asked.
"""

import socket
import sys

_SECONDS = 2.0


def answers(port: int, path: str | None = None) -> bool:
    """Say whether ``port`` of this machine takes a connection and answers a GET of ``path`` with a 2xx."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
            if path is None:
                return True
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            with connection.makefile("rb") as answer:
                status = answer.readline().split()
    except OSError:
        return False
    return len(status) > 1 and status[1].startswith(b"2")


if __name__ == "__main__":
    sys.exit(not answers(int(sys.argv[1]), *sys.argv[2:3]))
