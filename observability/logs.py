"""One pipeline for every log line of the process, ours and others' alike."""

import asyncio
import json
import logging
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Final, TextIO, cast

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from observability.redaction import clean
from settings import LogSettings

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

_FIRST: Final = ("timestamp", "level", "event", "logger", "service", "pid", "trace_id", "span_id")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose lines go through the pipeline: ``log.info("run claimed", runs=3)``."""
    return structlog.stdlib.get_logger(name)


class IdLogger:
    """Writes INFO lines that hold nothing but ids and numbers of our own, for a path where a line is dear.

    They look as all others do, and cost a tenth: nothing is redacted, bound or limited in rate, and those of one turn
    of the event loop are written at once.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger = logging.getLogger(name)

    def info(self, event: str, *, trace_id: str | None, span_id: str | None, **ids: object) -> None:
        """Write a line; the ids are any that JSON holds, and UUIDs."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        if trace_id:
            ids = {"trace_id": trace_id, "span_id": span_id, **ids}
        if _quick is None:
            get_logger(self._name).info(event, **ids)
        else:
            _quick.write(event, self._name, ids)


class _QuickLines:
    """Makes JSON lines without logging's and structlog's chains, and writes them where ``handler`` does."""

    def __init__(self, handler: logging.StreamHandler[TextIO], service: str) -> None:
        self._handler = handler
        self._service = service
        self._lines: list[bytes] = []

    def write(self, event: str, logger: str, ids: dict[str, object]) -> None:
        line = {
            "timestamp": _timestamp(time.time()),
            "level": "info",
            "event": event,
            "logger": logger,
            "service": self._service,
            "pid": os.getpid(),
            **ids,
        }
        self._lines.append(orjson.dumps(line, default=str))
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._flush)
            except RuntimeError:
                self._flush()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):  # a stream that is gone
            self._handler.stream.write(b"\n".join(lines).decode() + "\n")
            self._handler.flush()


_quick: _QuickLines | None = None


def bind(**ids: object) -> AbstractContextManager[None]:
    """Put ``event_id``, ``run_id``, ``pipeline``, ``node``, ``attempt``, … on every line of this context."""
    return structlog.contextvars.bound_contextvars(**ids)


def configure_logging(settings: LogSettings, *, service: str, stream: TextIO | None = None) -> None:
    """Send every line to ``stream`` (standard error), as JSON or, at a terminal, to be read. Can be called again."""
    output = stream or sys.stderr
    readable = settings.format == "console" or (settings.format == "auto" and output.isatty())
    handler = _Handler(output)
    handler.setFormatter(_formatter(service, readable=readable, colors=output.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    global _quick  # noqa: PLW0603 - as logging's own handlers: one for the process
    _quick = None if readable else _QuickLines(handler, service)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    set_level(settings.level)


def set_level(level: str) -> None:
    """Change the lowest level that is written, at once and for every logger."""
    number = logging.getLevelNamesMapping()[level]
    logging.getLogger().setLevel(number)
    for name, quiet in _NOISY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if number <= logging.DEBUG else max(quiet, number))


def limit_rate(*loggers: str, seconds: float = 60.0) -> None:
    """Let each message of these loggers through once in ``seconds``; the next one tells how many were left out."""
    for name in loggers:
        logger = logging.getLogger(name)
        if not any(isinstance(item, _RateLimit) for item in logger.filters):
            logger.addFilter(_RateLimit(seconds))


class _RateLimit(logging.Filter):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
        key, now = (record.levelno, str(message)), time.monotonic()
        last, hidden = self._seen.get(key, (now - self._seconds, 0))
        if now - last < self._seconds:
            self._seen[key] = (last, hidden + 1)
            return False
        self._seen[key] = (now, 0)
        record.left_out = hidden
        return True


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; one that can't be written is not worth an exception in the work that it tells of."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Do nothing."""


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001 - a line that can't be made still has to say so
            return json.dumps(
                {
                    "timestamp": _timestamp(record.created),
                    "level": "error",
                    "event": "a log line could not be made",
                    "logger": record.name,
                    "template": str(clean(record.msg)),
                    "error": type(error).__name__,
                }
            )


def _formatter(service: str, *, readable: bool, colors: bool) -> logging.Formatter:
    def _add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["pid"] = os.getpid()
        return event

    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        if readable
        else _render_json
    )
    return _Formatter(
        foreign_pre_chain=_SHARED,
        processors=[
            _add_record,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _add_process,
            structlog.processors.format_exc_info,
            _clean,
            renderer,
        ],
    )


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", format(context.trace_id, "032x"))
        event.setdefault("span_id", format(context.span_id, "016x"))
    return event


def _add_record(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["timestamp"] = _timestamp(record.created)
    event["event"] = str(event.get("event", "")).strip()
    if left_out := getattr(record, "left_out", 0):
        event["left_out"] = left_out
    error = sys.exc_info() if event.get("exc_info") is True else event.get("exc_info")
    kind = error[0] if isinstance(error, tuple) else type(error) if isinstance(error, BaseException) else None
    if kind:
        event["error_type"] = kind.__qualname__
    return event


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    ordered = {key: event[key] for key in _FIRST if key in event}
    return cast("EventDict", clean({**ordered, **event}))


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event).decode()


_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.StackInfoRenderer(),
    _add_trace,
)
