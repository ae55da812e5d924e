import json
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 30.0


class ServerProcess:
    """The process that owns this run's PostgreSQL and Redis, started by the one pytest process that no other started.

    It starts a server when a test first asks for it, and ends with all of them when its stdin closes: at the end of
    the run, at Ctrl-C, and also when pytest itself is killed. Being a process of its own, it keeps threads, event loops
    and warnings of containers and migrations out of the processes that run tests.
    """

    def __init__(self) -> None:
        directory = tempfile.mkdtemp(prefix="test-servers-")
        self.address = f"{directory}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.server_process", directory, str(listener.fileno())],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C at the terminal is pytest's to handle
            )

    def stop(self) -> None:
        """Stop all servers and wait until they are gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Servers:
    """What a test process asks of the server process; any process that knows the address may ask."""

    address: str
    worker: str

    def backend(self) -> str:
        """Which servers these are and why; a ServersError if they may not be used here."""
        return self._ask("backend", "")

    def create_database(self, *, migrated: bool) -> str:
        """The URL of a new database: a clone of the migrated template, or an empty one."""
        return self._ask("create_database", "migrated" if migrated else "empty")

    def drop_database(self, url: str) -> None:
        """Drop a database, also if someone is still connected."""
        self._ask("drop_database", url)

    def redis(self) -> str:
        """The URL of this worker's own Redis, emptied."""
        return self._ask("redis", self.worker)

    def _ask(self, question: str, argument: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.address)
            connection.sendall(json.dumps([question, argument]).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = stream.readline()
        if not answer:
            raise ServersError("the process that owns the test servers has ended")
        outcome, value = (str(part) for part in json.loads(answer))
        if outcome != "ok":
            raise ServersError(value)
        return value


class ServersError(RuntimeError):
    """A test server could not be started or asked; the message is the other process's traceback."""
