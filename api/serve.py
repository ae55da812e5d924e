import asyncio
import gc
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from events import ConfigurationError
from observability.logs import configure_logging, get_logger
from observability.metrics import Metrics, process_registry
from observability.tracing import configure_tracing
from settings import ApiSettings, Settings

_BACKLOG = 2048
_KEEP_ALIVE = 30
_LET_GO = 0.5
_YOUNG, _GENERATIONS = 10_000, 20
_SPARE_CONNECTIONS = 6144
"""Connections beside those whose events may wait: readers, probes, and clients that keep theirs open."""

_log = get_logger(__name__)


class ListenError(ConfigurationError):
    """The API's address can't be listened on."""


class StartError(ConfigurationError):
    """The API did not start; the log says why."""


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM or SIGINT: then stop accepting, answer what is open, store what waits, close.

    Raises:
        ListenError: the port is taken or the address is not ours.
        PipelineError: a pipeline is not well made.
        StartError: it did not start.

    """
    configure_logging(settings.log, service="api")
    listening = listen(settings.api)
    collectors = process_registry()
    metrics = Metrics(collectors)
    tracing = configure_tracing(settings.telemetry, service="api", metrics=metrics)
    try:
        app = create_app(settings, collectors=collectors, metrics=metrics)
        server = _Server(_config(app, settings))
        _leave_alone_what_stays()
        host, port = listening.getsockname()[:2]
        _log.info("api listens", host=host, port=port)
        with _quiet_end():
            server.run(sockets=[listening])
        if not server.started:
            raise StartError
    finally:
        listening.close()
        tracing.shutdown()


class _Server(uvicorn.Server):
    """Uvicorn's server, which lets its clients go before it closes their connections.

    It would close them where they are between two requests: also under a request that is on its way. Here new ones are
    refused first, and each answer of the next half second tells its client to come no more over this connection. Who
    has connected and was not taken in yet still is: a listener that is closed resets them.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn's."""
        self.server_state.default_headers.append((b"connection", b"close"))
        waiting = [listening.dup() for listening in sockets or ()]
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        for connection in [one for listening in waiting for one in _close(listening)]:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await asyncio.sleep(_LET_GO)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _close(listening: socket.socket) -> list[socket.socket]:
    """Close a listener at the moment at which nobody waits for it; return who did."""
    taken: list[socket.socket] = []
    with listening:
        listening.setblocking(False)
        while True:
            try:
                connection, _ = listening.accept()
            except ConnectionAbortedError:
                continue
            except OSError:  # nobody is left, or there is no room for another file
                return taken
            connection.setblocking(False)
            taken.append(connection)


def _leave_alone_what_stays() -> None:
    """Keep the garbage collector off all that was loaded, and have it look less often: it took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _GENERATIONS, _GENERATIONS)


def listen(settings: ApiSettings) -> socket.socket:
    """Open the listening socket.

    Raises:
        ListenError: it can't be opened; one line that names the address and the mend.

    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ListenError(
            f"can't listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "stop what listens there, or set THROUGHLINE_API_PORT to another port"
        ) from error
    listening.setblocking(False)
    return listening


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=settings.log.level == "DEBUG",
        server_header=False,
        backlog=_BACKLOG,
        limit_concurrency=settings.api.flush_queue_max + _SPARE_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(settings.api.graceful_timeout)),
    )


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Let a graceful stop end as a return: uvicorn raises the signal it handled once more when it is done."""
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: the server has stopped already."""
