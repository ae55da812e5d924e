"""The provider behind every tracer of the process."""

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from events import ConfigurationError
from observability.logs import limit_rate
from observability.metrics import Metrics, null_metrics
from observability.tracing.export import INTERVAL, OtlpSender, SpanQueue
from observability.tracing.ids import SpanIds
from observability.tracing.light_span import Ended, LightTracer, Sink
from settings import VERSION, TelemetrySettings

_TRACES_PATH: Final = "/v1/traces"
_NOISY: Final = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "observability.tracing.export")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """One process's tracing, as ``configure_tracing`` made it."""

    provider: TracerProvider

    def force_flush(self, timeout: float = 5.0) -> bool:
        """Say whether all ended spans were dealt with within ``timeout`` seconds. Blocks: not for an event loop."""
        return self.provider.force_flush(int(timeout * 1000))

    def shutdown(self) -> None:
        """Export what is left, bounded by the export timeout. Later spans are counted as dropped. Blocks."""
        self.provider.shutdown()


class CurrentProvider(trace.TracerProvider):
    """OpenTelemetry's global provider, which can be set once only, in front of the one that is configured.

    So a forked child, whose parent has configured its own, gets a provider that works, and so do tracers that
    instrumentations or users' nodes made before.
    """

    def __init__(self) -> None:
        self.provider: trace.TracerProvider = trace.NoOpTracerProvider()
        self.tracer: trace.Tracer = trace.NoOpTracer()
        self.ids = SpanIds()

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """See ``TracerProvider.get_tracer``."""
        return _CurrentTracer(self, args, kwargs)


class _CurrentTracer(trace.Tracer):
    def __init__(self, current: CurrentProvider, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._current = current
        self._scope = (args, kwargs)
        self._made: tuple[trace.TracerProvider, trace.Tracer] | None = None

    def _tracer(self) -> trace.Tracer:
        provider = self._current.provider
        if self._made is None or self._made[0] is not provider:
            self._made = (provider, provider.get_tracer(*self._scope[0], **self._scope[1]))
        return self._made[1]

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        return self._tracer().start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer().start_as_current_span(*args, **kwargs)


class LightProvider(trace.TracerProvider):
    """Makes tracers of light spans."""

    def __init__(self, *, resource: Resource, share: float, ids: SpanIds, sinks: Sequence[Sink]) -> None:
        self._parts: dict[str, Any] = {"resource": resource, "share": share, "ids": ids, "sinks": sinks}

    def get_tracer(self, *args: Any, **kwargs: Any) -> LightTracer:
        """See ``TracerProvider.get_tracer``."""
        return LightTracer(InstrumentationScope(*args, **kwargs), **self._parts)


class _ProcessorSink:
    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor

    def take_all(self, spans: Sequence[Ended]) -> None:
        for span in spans:
            self._processor.on_end(span.readable())


CURRENT: Final = CurrentProvider()
"""Behind every tracer that others ask for: the SDK's spans."""
LIGHT: Final = CurrentProvider()
"""Behind our own tracers and Celery's: light spans."""

_IDLE: Final = LightTracer(
    InstrumentationScope("throughline", VERSION), resource=Resource.get_empty(), share=0.0, ids=CURRENT.ids, sinks=()
)


def light_tracer() -> LightTracer:
    """Return the tracer of our own spans; one that records nothing where none is configured."""
    return CURRENT.tracer if isinstance(CURRENT.tracer, LightTracer) else _IDLE


def export_delay(settings: TelemetrySettings) -> float:
    """Return how many seconds a span may wait, and be under way, until a collector that works has it."""
    return INTERVAL + settings.export_timeout


def flush_spans(timeout: float) -> bool:
    """Say whether all spans of this process that have ended were dealt with within ``timeout`` seconds. Blocks."""
    provider = CURRENT.provider
    return not isinstance(provider, TracerProvider) or provider.force_flush(int(timeout * 1000))


def configure_tracing(
    settings: TelemetrySettings,
    *,
    service: str,
    metrics: Metrics | None = None,
    processors: Sequence[SpanProcessor] = (),
) -> Tracing:
    """Make this process's tracing and let every tracer use it from now on.

    Call it again in a forked child; what the parent had stays the parent's. Spans are exported if an endpoint is set,
    here or in the environment, and go to ``processors`` as well. With neither they are not recorded and exist for their
    ids only.

    Raises:
        ConfigurationError: the endpoint or the headers can't be read.

    """
    ids, resource, endpoint = SpanIds(), _resource(service), _endpoint(settings)
    share = settings.sample_ratio if endpoint or processors else 0.0
    sampler = ParentBased(TraceIdRatioBased(share)) if endpoint or processors else ALWAYS_OFF
    provider = TracerProvider(sampler=sampler, resource=resource, id_generator=ids)
    sinks: list[Sink] = [_ProcessorSink(processor) for processor in processors]
    queue = _queue(endpoint, settings, metrics or null_metrics()) if endpoint else None
    if queue:
        sinks.append(queue)
    for processor in (*processors, *([queue] if queue else ())):
        provider.add_span_processor(processor)
    CURRENT.provider, CURRENT.ids = provider, ids
    LIGHT.provider = LightProvider(resource=resource, share=share, ids=ids, sinks=sinks)
    CURRENT.tracer = LIGHT.provider.get_tracer("throughline", VERSION)
    if trace.get_tracer_provider() is not CURRENT:
        trace.set_tracer_provider(CURRENT)
    return Tracing(provider=provider)


def _resource(service: str) -> Resource:
    return Resource.create(
        {
            "service.name": f"throughline-{service}",
            "service.namespace": "throughline",
            "service.version": VERSION,
            "service.instance.id": str(uuid.uuid4()),
        }
    )


def _queue(endpoint: str, settings: TelemetrySettings, metrics: Metrics) -> SpanQueue:
    limit_rate(*_NOISY)
    sender = OtlpSender(endpoint, headers=_headers(settings), timeout=settings.export_timeout)
    return SpanQueue(
        sender.send,
        close=sender.close,
        metrics=metrics,
        size=settings.queue_size,
        timeout=settings.export_timeout,
    )


def _endpoint(settings: TelemetrySettings) -> str | None:
    base = settings.endpoint or os.environ.get(OTEL_EXPORTER_OTLP_ENDPOINT)
    full = None if settings.endpoint else os.environ.get(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
    url = full or (base.rstrip("/") + _TRACES_PATH if base else None)
    if url and urlsplit(url).scheme not in {"http", "https"}:
        raise ConfigurationError("the OTLP endpoint must be an http:// or https:// URL (OTLP over HTTP, port 4318)")
    return url


def _headers(settings: TelemetrySettings) -> dict[str, str] | None:
    if settings.headers is None:
        return None
    pairs = [item.partition("=") for item in settings.headers.get_secret_value().split(",") if item.strip()]
    if any(not name.strip() or not separator for name, separator, _ in pairs):
        raise ConfigurationError("THROUGHLINE_TELEMETRY_HEADERS must read name=value,name=value")
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
