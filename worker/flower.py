import os
import socket
import time
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import flower.app
from celery import Celery
from celery.events import EventReceiver
from flower.events import Events
from tornado.options import options

from events import ConfigurationError
from observability.logs import configure_logging, get_logger
from settings import FlowerSettings, Settings
from worker.app import create_celery

_COLUMNS: Final = "name,uuid,state,received,runtime,worker,result,kwargs"
"""The arguments last: Flower does not wrap them, and a hundred ids are long."""
_OFFLINE_SECONDS: Final = 3600
_PAUSE: Final = 2.0

_log = get_logger(__name__)


class SteadyEvents(Events):  # type: ignore[misc]  # Flower has no types
    """Flower's receiver of events, which looks for a lost Redis every few seconds.

    Flower's own waits twice as long after each try, without a limit: after an hour's outage it stayed blind for up to
    another one.
    """

    def run(self) -> None:
        """Receive events for as long as the process lives."""
        while True:
            try:
                with self.capp.connection() as connection:
                    EventReceiver(connection, handlers={"*": self.on_event}, app=self.capp).capture(wakeup=True)
            except Exception as error:  # noqa: BLE001 - whatever it is, a thread that ends leaves Flower blind
                _log.warning("Flower hears nothing of the workers: Redis is away", error=type(error).__name__)
                time.sleep(_PAUSE)


def main(settings: Settings) -> None:
    """Serve Flower until SIGTERM.

    Raises:
        ConfigurationError: there is no password, and Flower, which shows and controls the workers, never starts open;
            or its address can't be listened on.

    """
    chosen = settings.flower
    if chosen.password is None:
        raise ConfigurationError(
            "Flower shows and stops workers, so it never starts open: set THROUGHLINE_FLOWER_PASSWORD "
            f"(the name that goes with it is {chosen.user!r}, by THROUGHLINE_FLOWER_USER)"
        )
    _require_address(chosen.host, chosen.port)
    # Not by an argument, which ps would show, nor by Flower's own variable, which it splits at every comma.
    os.environ.pop("FLOWER_BASIC_AUTH", None)
    options.basic_auth = [f"{chosen.user}:{chosen.password.get_secret_value()}"]
    configure_logging(settings.log, service="flower")
    flower.app.Events = SteadyEvents
    create_app(settings).start(_arguments(chosen))


def create_app(settings: Settings) -> Celery:
    """Make the Celery app that Flower looks through; its page of the broker reads TLS options from here alone."""
    app = create_celery(settings)
    url = urlsplit(settings.redis.url.get_secret_value())
    if url.scheme == "rediss":
        tls = {name: value for name, value in parse_qsl(url.query) if name.startswith("ssl_")}
        app.conf.broker_use_ssl = {"ssl_cert_reqs": "required", **tls}
    return app


def _require_address(host: str, port: int) -> None:
    """See that the address can be listened on, which Flower would tell by a traceback."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ConfigurationError(
            f"Flower can't listen on {host}:{port}: {error.strerror or error}; "
            "stop what listens there, or set THROUGHLINE_FLOWER_HOST or THROUGHLINE_FLOWER_PORT"
        ) from error


def _arguments(chosen: FlowerSettings) -> list[str]:
    arguments = [
        "flower",
        f"--conf={os.devnull}",
        "--logging=none",
        f"--address={chosen.host}",
        f"--port={chosen.port}",
        f"--max-tasks={chosen.max_tasks}",
        f"--purge-offline-workers={_OFFLINE_SECONDS}",
        f"--tasks-columns={_COLUMNS}",
    ]
    if chosen.read_only:
        arguments.append("--read-only")
    if chosen.url_prefix:
        arguments.append(f"--url-prefix={chosen.url_prefix}")
    return arguments
