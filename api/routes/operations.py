"""What an operator's tools ask: probes, metrics, and what a problem's type means."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from api.problems import ProblemType
from api.routes.documents import problems
from api.schemas import Health
from api.services import services_of
from observability.metrics import render
from storage.engine import DatabaseUnavailable
from storage.schema import schema_is_ready

_READY_WITHIN = 1.0
_UNAVAILABLE = 503
_NOT_FOUND = 404


def register(app: FastAPI) -> None:
    """Add ``/health/live``, ``/health/ready``, ``/metrics`` and ``/problems/{name}``."""
    for path, endpoint, operation in (
        ("/health/live", get_live, "getLive"),
        ("/health/ready", get_ready, "getReady"),
    ):
        app.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            operation_id=operation,
            tags=["operations"],
            response_class=Response,
            responses={200: {"model": Health}, **({503: {"model": Health}} if endpoint is get_ready else {})},
        )
    app.add_api_route(
        "/metrics",
        get_metrics,
        methods=["GET"],
        operation_id="getMetrics",
        tags=["operations"],
        response_class=PlainTextResponse,
    )
    app.add_api_route(
        "/problems/{name}",
        get_problem,
        methods=["GET"],
        operation_id="getProblem",
        tags=["operations"],
        response_class=PlainTextResponse,
        responses=problems(),
    )


async def get_live() -> Response:
    """Say that the process runs and its event loop turns; asks nobody else."""
    return _health(Health(status="ok"))


async def get_ready(request: Request) -> Response:
    """Say whether events can be stored: PostgreSQL answers within a second and is migrated. Redis isn't needed."""
    try:
        async with services_of(request).reading(within=_READY_WITHIN) as connection:
            migrated = await schema_is_ready(connection)
    except DatabaseUnavailable:
        return _health(Health(status="unavailable", reason="PostgreSQL does not answer"))
    if not migrated:
        return _health(Health(status="unavailable", reason="the database is not migrated to this release"))
    return _health(Health(status="ok"))


async def get_metrics(request: Request) -> Response:
    """Give Prometheus this process's metrics; exemplars go with OpenMetrics only."""
    services = services_of(request)
    services.metrics.ingest_waiting.labels().set(services.commits.waiting)
    body, content_type = render(services.collectors, request.headers.get("accept"))
    return Response(body, headers={"Content-Type": content_type})


async def get_problem(name: str) -> Response:
    """Explain a problem's type, where its ``type`` leads."""
    for type_ in ProblemType:
        kind = type_.value
        if kind.name == name:
            return PlainTextResponse(f"{kind.title}\n\n{kind.meaning}\n\nHTTP status: {int(kind.status)}\n")
    raise HTTPException(_NOT_FOUND)


def _health(health: Health) -> Response:
    return Response(
        health.model_dump_json(exclude_none=True),
        200 if health.status == "ok" else _UNAVAILABLE,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
