"""One pipeline for every log line of the process, ours and others' alike."""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TextIO, cast

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from observability.levels import set_level
from observability.one_piece import in_one_piece
from observability.redaction import clean, without_hidden
from observability.secret_names import HIDDEN
from settings import LogSettings

_FIRST: Final = ("timestamp", "level", "event", "logger", "service", "pid", "trace_id", "span_id")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose lines go through the pipeline: ``log.info("run claimed", runs=3)``."""
    return structlog.stdlib.get_logger(name)


def hears_debug(name: str) -> Callable[[], bool]:
    """Return what says whether DEBUG lines of this logger are written: asking costs less than a line that is not."""
    logger = logging.getLogger(name)
    return lambda: logger.isEnabledFor(logging.DEBUG)


_bound: Final[ContextVar[Mapping[str, object]]] = ContextVar("throughline_log_ids", default=MappingProxyType({}))


class bind:  # noqa: N801 - it reads as the verb that it is
    """Put ``event_id``, ``run_id``, ``pipeline``, ``node``, ``attempt``, … on every line of this context."""

    __slots__ = ("_ids", "_token")

    def __init__(self, **ids: object) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        self._token: Token[Mapping[str, object]] = _bound.set({**_bound.get(), **self._ids})

    def __exit__(self, *_: object) -> None:
        _bound.reset(self._token)


def bound_ids() -> Mapping[str, object]:
    """Return what ``bind`` puts on the lines of this context."""
    return _bound.get()


def tell(logger: str, event: str, fields: Mapping[str, object]) -> None:
    """Write a line of level INFO on the short way, for lines of which there are thousands a second.

    ``fields`` are ids, names and numbers of ours, as JSON has them: they are not searched for secrets, though names
    that the settings hide are minded. The line looks like any other, ``bind``'s ids and the trace's included; those of
    one turn of an event loop are written together.
    """
    tell_all(logger, [(event, fields)])


def tell_all(logger: str, lines: Sequence[tuple[str, Mapping[str, object]]]) -> None:
    """Write lines as ``tell`` does, each an event and its fields, which are the same in all: of one moment."""
    handler = next((item for item in logging.getLogger().handlers if isinstance(item, _Handler)), None)
    if handler is None or handler.quick is None:
        for event, fields in lines:
            get_logger(logger).info(event, **fields)
        return
    source = logging.getLogger(logger)
    if not lines or not source.isEnabledFor(logging.INFO):
        return
    heads: dict[str, bytes] = {}
    written: list[bytes] = []
    for event, fields in lines:
        head = heads.get(event)
        if head is None:
            head = heads[event] = orjson.dumps(_head(source, event, handler.quick, without=fields))[:-1]
        tail = orjson.dumps(without_hidden(fields))
        written.append(b"%b,%b" % (head, tail[1:]) if fields else head + b"}")
    handler.put(b"\n".join(written).decode())


def _head(source: logging.Logger, event: str, service: str, *, without: Container[str]) -> dict[str, object]:
    line: dict[str, object] = {
        "timestamp": _timestamp(time.time()),
        "level": "info",
        "event": event,
        "logger": source.name,
        "service": service,
        "pid": os.getpid(),
    }
    if "trace_id" not in without:
        _add_trace(source, "info", line)
    return {**line, **without_hidden({name: value for name, value in _bound.get().items() if name not in without})}


def configure_logging(settings: LogSettings, *, service: str, stream: TextIO | None = None) -> None:
    """Send every line to ``stream`` (standard error), as JSON or, at a terminal, to be read. Can be called again.

    What the settings hide is hidden in the process's spans and stored errors, too.
    """
    output = stream or sys.stderr
    readable = settings.format == "console" or (settings.format == "auto" and output.isatty())
    handler = _Handler(output, quick=None if readable else service)
    handler.setFormatter(_formatter(service, readable=readable, colors=output.isatty()))
    HIDDEN.set(settings.redact)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    set_level(settings.level)


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
    """Writes lines; one that can't be written is not worth an exception in the work that it tells of.

    ``quick``: the service whose lines may come ready-made, by ``put``.
    """

    def __init__(self, stream: TextIO, *, quick: str | None) -> None:
        super().__init__(stream)
        self.quick = quick
        self._ready: deque[str] = deque()
        self._writing = threading.RLock()

    def put(self, line: str) -> None:
        """Write a line, together with others of this turn of the loop."""
        self._ready.append(line)
        if len(self._ready) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self._write_ready)
        except RuntimeError:
            self._write_ready()

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler.emit``."""
        self._write_ready()
        super().emit(record)

    def _write_ready(self) -> None:
        if not self._ready:
            return
        with self._writing, suppress(Exception):
            lines = [self._ready.popleft() for _ in range(len(self._ready))]
            self.stream.write("".join(f"{line}\n" for line in lines))
            self.flush()

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


def _add_bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**_bound.get(), **event}


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
    whole, fraction = divmod(int(seconds * 1e6), 1_000_000)
    return f"{_second(whole)}.{fraction:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    ordered = {key: event[key] for key in _FIRST if key in event}
    return cast("EventDict", clean({**ordered, **event}))


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return in_one_piece(event, first=_FIRST).decode()


_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    _add_bound,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.StackInfoRenderer(),
    _add_trace,
)

# One list for good: loggers keep the one that they were first used with, and tests capture lines through it.
_PROCESSORS: Final[list[Processor]] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
