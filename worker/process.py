import os

from celery import Celery

from observability.logs import get_logger
from observability.metrics import Metrics, MetricsPortError, MetricsServer, process_registry, serve_metrics
from observability.tracing import Tracing, configure_tracing
from observability.tracing.celery_spans import instrument_celery
from pipelines import PipelineRegistry
from settings import Settings
from worker.handover import set_runtime
from worker.identity import Seat
from worker.log_level import Heard
from worker.memory import settle
from worker.runtime import WorkerRuntime

_STOP_MARGIN = 2.5

_log = get_logger(__name__)


class RunsProcess:
    """A process that runs pipelines: the only one with the threads pool, each child with prefork.

    ``level_heard``: see ``follow_level``.
    """

    def __init__(
        self,
        app: Celery,
        settings: Settings,
        registry: PipelineRegistry,
        *,
        level_heard: Heard,
    ) -> None:
        self._app = app
        self._settings = settings
        self._registry = registry
        self._level_heard = level_heard
        self._runtime: WorkerRuntime | None = None
        self._tracing: Tracing | None = None
        self._metrics_server: MetricsServer | None = None

    def start(self, *, seat: Seat, metrics_port: int) -> None:
        """Set up tracing, metrics and the runtime.

        Raises:
            MetricsPortError: the port is taken.

        """
        collected = process_registry()
        metrics = Metrics(collected)
        self._tracing = configure_tracing(self._settings.telemetry, service="worker", metrics=metrics)
        instrument_celery(seat.name)
        host = self._settings.worker.metrics_host
        self._metrics_server = serve_metrics(
            collected, host=host, port=metrics_port, settings="THROUGHLINE_WORKER_METRICS"
        )
        self._runtime = WorkerRuntime(
            self._settings, self._registry, seat=seat, metrics=metrics, level_heard=self._level_heard
        )
        self._runtime.start()
        set_runtime(self._app, self._runtime)
        settle()

    def begin_stop(self, *, hurry: bool = False) -> None:
        """See ``WorkerRuntime.begin_stop``. For signal handlers."""
        if self._runtime:
            self._runtime.begin_stop(hurry=hurry)

    def wait_stopped(self) -> bool:
        """Wait until the runs have ended or were given back."""
        return self._runtime is None or self._runtime.wait_stopped(self._settings.worker.stop_grace + _STOP_MARGIN)

    def close(self) -> bool:
        """End everything; spans that are left are exported. False if a node's thread goes on all the same."""
        ended = True
        if self._runtime:
            self._runtime.begin_stop()
            self.wait_stopped()
            ended = self._runtime.close()
            set_runtime(self._app, None)
            self._runtime = None
        if self._tracing:
            self._tracing.shutdown()
        if self._metrics_server:
            self._metrics_server.close()
        return ended


def child_metrics_port(settings: Settings, index: int) -> int:
    """Return the port of a prefork child's metrics; 0 serves none."""
    port = settings.worker.metrics_port
    return port + 1 + index if port else 0


def start_child(process: RunsProcess, *, seat: Seat, metrics_port: int) -> None:
    """Start in a prefork child, where an exception would only be logged by Celery: so it ends the child instead."""
    try:
        try:
            process.start(seat=seat, metrics_port=metrics_port)
        except MetricsPortError as error:
            _log.error("this child has no /metrics", error=str(error))
            process.start(seat=seat, metrics_port=0)
    except Exception:  # noqa: BLE001 - a child without a runtime would take messages and run nothing
        _log.exception("a worker child could not start")
        os._exit(1)
