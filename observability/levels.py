import logging
from typing import Final

_NOISY: Final[dict[str, int]] = {
    "asyncio": logging.WARNING,
    "kombu": logging.WARNING,
    "amqp": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    "celery.worker.strategy": logging.WARNING,
    "celery.bootsteps": logging.INFO,
    "tornado.access": logging.WARNING,
    "urllib3": logging.INFO,
    "httpcore": logging.INFO,
    "httpx": logging.WARNING,
    "alembic.runtime.plugins": logging.WARNING,
    "opentelemetry.instrumentation.celery": logging.WARNING,
}
"""The lowest level of loggers that say much about little. At DEBUG nobody asked for less: they say it all."""

_ACCESS: Final = "uvicorn.access"
"""A line a request. Uvicorn asks once a connection whether anybody hears it, and spares itself the work if not."""


def set_level(level: str) -> None:
    """Change the lowest level that is written, at once and for every logger."""
    number = logging.getLevelNamesMapping()[level]
    logging.getLogger().setLevel(number)
    for name, quiet in _NOISY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if number <= logging.DEBUG else max(quiet, number))
    access = logging.getLogger(_ACCESS)
    if not access.handlers:
        access.propagate = number <= logging.DEBUG
