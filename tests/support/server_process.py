import json
import select
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from tests.support.backend import Backend, Choice, choose_backend

if TYPE_CHECKING:
    from tests.support.databases import Databases


class Provider(Protocol):
    """How to start a server: a context that yields its URL and stops it at the end."""

    def postgres(self) -> AbstractContextManager[str]:
        """A PostgreSQL server; yields the URL of its maintenance database."""
        ...

    def redis(self) -> AbstractContextManager[str]:
        """A Redis server; yields its URL."""
        ...


class Answers:
    """Answers the questions of ``tests.support.servers.Servers``; imports and starts what is needed when it is."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._redis: dict[str, str] = {}

    def backend(self, _: str) -> str:
        """Which servers these are, and why."""
        return str(self._choice)

    def create_database(self, kind: str) -> str:
        """A new database, cloned from the template or empty."""
        return self._databases.create(migrated=kind == "migrated")

    def drop_database(self, url: str) -> str:
        """Drop what create_database made."""
        self._databases.drop(url)
        return ""

    def redis(self, worker: str) -> str:
        """One Redis for each xdist worker, so that a test may also flush it; empty when answered."""
        from redis import Redis  # noqa: PLC0415 -- see the class

        if worker not in self._redis:
            self._redis[worker] = self._stack.enter_context(self._provider.redis())
        with Redis.from_url(self._redis[worker]) as client:
            client.flushall()
        return self._redis[worker]

    @cached_property
    def _databases(self) -> "Databases":
        from tests.support.databases import Databases  # noqa: PLC0415 -- see the class

        return Databases(self._stack.enter_context(self._provider.postgres()))

    @cached_property
    def _choice(self) -> Choice:
        return choose_backend()

    @cached_property
    def _provider(self) -> Provider:
        if self._choice.backend is Backend.TESTCONTAINERS:
            from tests.support.containers import ContainerProvider  # noqa: PLC0415 -- see the class

            return ContainerProvider(self._choice)
        from tests.support.embedded import EmbeddedProvider  # noqa: PLC0415 -- see the class

        return EmbeddedProvider()


def serve(listener: socket.socket, answers: Answers) -> None:
    """Answer until stdin closes: whoever started this process has then ended, however it did."""
    questions = {
        "backend": answers.backend,
        "create_database": answers.create_database,
        "drop_database": answers.drop_database,
        "redis": answers.redis,
    }
    while True:
        ready, _, _ = select.select([sys.stdin, listener], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        with connection:
            _answer(connection, questions)


def _answer(connection: socket.socket, questions: dict[str, Callable[[str], str]]) -> None:
    try:
        with connection.makefile("rb") as stream:
            question, argument = json.loads(stream.readline())
        answer = ["ok", questions[question](argument)]
    except Exception:  # noqa: BLE001 -- whatever went wrong is the asking test's to show
        answer = ["error", traceback.format_exc()]
    try:
        connection.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        return  # the test that asked was ended meanwhile


def main(arguments: list[str]) -> None:
    """Own the servers of one test run, and the directory of its socket."""
    directory, descriptor = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the end of stdin is the end; not SIG_IGN, which servers would inherit
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        listener = stack.enter_context(socket.socket(fileno=int(descriptor)))
        serve(listener, Answers(stack))


if __name__ == "__main__":
    main(sys.argv[1:])
