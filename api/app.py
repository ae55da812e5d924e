from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from api import docs_page, problem_handlers
from api.front import Front
from api.middleware import Observed, PlainRequests
from api.routes import change_runs, operations, pipelines, post_event, read_events, read_runs
from api.schemas import ProblemDetails
from api.services import Services
from observability.metrics import Metrics, process_registry
from pipelines import PipelineRegistry
from settings import VERSION, Settings

_DESCRIPTION = (
    "Events in over HTTP, pipelines run for them, every step visible. A 202 is given after the commit. "
    "Whatever is not a success is `application/problem+json` (RFC 9457)."
)
_TAGS = [
    {"name": "events", "description": "Send events and follow them."},
    {"name": "runs", "description": "Find runs, cancel them, replay them."},
    {"name": "pipelines", "description": "What runs for which event type."},
    {"name": "operations", "description": "Probes and metrics."},
]

_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own would make a second server span and cost several times what ours does."""


class _Api(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        services: Services = self.state.services
        return Front(super().build_middleware_stack(), services.intake, requests=services.requests)


def create_app(
    settings: Settings,
    *,
    registry: PipelineRegistry | None = None,
    collectors: CollectorRegistry | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Make the HTTP side; connections are opened when it starts.

    ``registry`` defaults to the pipelines that the settings name. ``collectors`` is what ``/metrics`` shows, and
    ``metrics``, where given, is what was made over it.

    Raises:
        PipelineError: a pipeline is not well made.

    """
    shown = collectors or process_registry()
    counted = metrics or Metrics(shown)
    loaded = registry or PipelineRegistry.load(settings.pipelines.modules, builtin=settings.pipelines.builtin)
    services = Services(settings, registry=loaded, metrics=counted, collectors=shown)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with services.running():
            yield

    app = _Api(
        title="Throughline",
        description=_DESCRIPTION,
        version=VERSION,
        openapi_tags=_TAGS,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.services = services
    app.add_middleware(PlainRequests)
    app.add_middleware(Observed, requests=services.requests)
    problem_handlers.install(app)
    for module in (post_event, read_events, read_runs, change_runs, pipelines, operations):
        module.register(app)
    docs_page.register(app)
    _document_problems(app)
    return app


def _document_problems(app: FastAPI) -> None:
    """Put the problem's schema, which no endpoint returns as a model, among OpenAPI's components."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "ProblemDetails" not in schemas:
            made = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(made.pop("$defs", {}))
            schemas["ProblemDetails"] = made
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
