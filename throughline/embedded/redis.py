import os
import signal
import socket
from pathlib import Path
from typing import ClassVar

from throughline.embedded.binaries import redis_server
from throughline.embedded.folder import make_folder
from throughline.embedded.server import EmbeddedServer
from throughline.errors import FolderUnusable
from throughline.supervision.guard import LastWish
from throughline.supervision.service import StopSteps

_PROBE_TIMEOUT = 1.0


class EmbeddedRedis(EmbeddedServer):
    """Redis over ``<data_dir>/data``: append-only file synced every second, never evicting, password asked for."""

    name = "redis"
    program = "redis-server"
    stop_steps: ClassVar[StopSteps] = ((signal.SIGTERM, 10.0),)
    last_wish = LastWish(signal.SIGTERM, 5.0)

    @property
    def url(self) -> str:
        """Where clients connect, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def working_folder(self) -> Path:
        """Where the append-only file is."""
        return self.data_dir / "data"

    def ready(self) -> bool:
        """Say whether it answers PING; while it still reads its file it answers LOADING."""
        return self._ask("PING").startswith("+PONG")

    def _prepare(self) -> None:
        redis_server()
        make_folder(self.working_folder)
        if not (self.data_dir / "password").exists():
            self._make_password()

    def _spawn(self, port: int) -> None:
        config = self.data_dir / "redis.conf"
        try:
            descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(self._config(port))
        except OSError as error:
            raise FolderUnusable(f"{config} can't be written: {error.strerror}") from error
        self._process.spawn((str(redis_server()), str(config)), cwd=self.data_dir)

    def _config(self, port: int) -> str:
        """Return the configuration; in a file, since the command line with the password would show in ``ps``."""
        lines = (
            "bind 127.0.0.1",
            "protected-mode yes",
            f"port {port}",
            f"requirepass {self.password}",
            f"dir {_quoted(self.working_folder)}",
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
        )
        return "\n".join(lines) + "\n"

    def _listening(self) -> bool:
        return self._ask("PING") != ""

    def _ask(self, command: str) -> str:
        """Log in and send one command; return the answer, empty when there is none or the password isn't this server's.

        By hand: two lines of protocol are less than a client with its pool and its retries.
        """
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_PROBE_TIMEOUT) as connection:
                connection.sendall(f"AUTH {self.password}\r\n{command}\r\n".encode())
                with connection.makefile("r", encoding="utf-8", newline="\r\n") as answers:
                    return answers.readline() if answers.readline().startswith("+OK") else ""
        except OSError:
            return ""


def _quoted(path: Path) -> str:
    """Quote a path for redis.conf."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
