from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response

from api.routes.documents import problems
from api.schemas import PipelineInfo, PipelineList
from api.services import services_of
from pipelines import Pipeline, PipelineRegistry


def register(app: FastAPI) -> None:
    """Add ``GET /pipelines``."""
    app.add_api_route(
        "/pipelines",
        get_pipelines,
        methods=["GET"],
        operation_id="listPipelines",
        summary="List pipelines",
        tags=["pipelines"],
        response_class=Response,
        responses={200: {"model": PipelineList}, **problems()},
    )


async def get_pipelines(request: Request) -> Response:
    """List the pipelines of this release with their nodes, the event types they take and the schema of ``data``."""
    registry = services_of(request).registry
    items = sorted((_info(pipeline, registry) for pipeline in registry.pipelines), key=lambda item: item.name)
    return Response(PipelineList(items=items).model_dump_json(), media_type="application/json")


def _info(pipeline: Pipeline[Any], registry: PipelineRegistry) -> PipelineInfo:
    versions = [known.version for known in registry.versions(pipeline.name)]
    return PipelineInfo(**asdict(pipeline.describe()), versions=versions)
