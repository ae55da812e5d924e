import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from observability.secret_names import HIDDEN
from observability.tracing import configure_tracing
from observability.tracing.provider import _NOISY, CURRENT
from settings import TelemetrySettings


@pytest.fixture(autouse=True)
def _process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging and tracing belong to the process: each test gets them back as they were."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level, show = root.handlers[:], root.level, warnings.showwarning
    before = (CURRENT.provider, CURRENT.tracer, CURRENT.ids)
    yield
    CURRENT.provider, CURRENT.tracer, CURRENT.ids = before
    logging.captureWarnings(capture=False)
    root.handlers[:], warnings.showwarning = handlers, show
    root.setLevel(level)
    HIDDEN.set(())
    for name in _NOISY:
        logging.getLogger(name).filters.clear()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """The ended spans of a process whose tracing keeps all of them in memory."""
    exporter = InMemorySpanExporter()
    configure_tracing(TelemetrySettings(), service="test", processors=(SimpleSpanProcessor(exporter),))
    return exporter
