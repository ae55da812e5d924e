import asyncio
import signal

import uvloop
from prometheus_client import CollectorRegistry

from observability.logs import configure_logging, get_logger
from observability.metrics import Metrics, process_registry, serve_metrics
from observability.tracing import configure_tracing
from observability.tracing.celery_spans import instrument_celery
from settings import Settings
from worker.app import create_celery
from worker.memory import settle
from worker.relay.loop import Relay

_log = get_logger(__name__)


def main(settings: Settings) -> None:
    """Be a relay process until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the metrics port is taken, or the tracing endpoint can't be read.

    """
    configure_logging(settings.log, service="relay")
    registry = process_registry()
    metrics = Metrics(registry)
    tracing = configure_tracing(settings.telemetry, service="relay", metrics=metrics)
    instrument_celery()
    try:
        uvloop.run(_run(settings, metrics, registry))
    finally:
        tracing.shutdown()


async def _run(settings: Settings, metrics: Metrics, registry: CollectorRegistry) -> None:
    relay = Relay(settings, app=create_celery(settings), metrics=metrics)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    # Last: who is answered there may take it that a signal is heard.
    place = settings.relay
    server = serve_metrics(
        registry, host=place.metrics_host, port=place.metrics_port, settings="THROUGHLINE_RELAY_METRICS"
    )
    settle()
    _log.info("relay started", poll_interval=settings.relay.poll_interval, window=settings.relay.window)
    try:
        await relay.run()
    finally:
        server.close()
    _log.info("relay stopped")
