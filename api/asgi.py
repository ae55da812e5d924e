"""The ASGI shim, for servers that import an application; everything happens at import."""

from api.app import create_app
from observability.logs import configure_logging
from observability.metrics import Metrics, process_registry
from observability.tracing import configure_tracing
from settings import load_settings

_settings = load_settings()
configure_logging(_settings.log, service="api")
_collectors = process_registry()
_metrics = Metrics(_collectors)
configure_tracing(_settings.telemetry, service="api", metrics=_metrics)
app = create_app(_settings, collectors=_collectors, metrics=_metrics)
