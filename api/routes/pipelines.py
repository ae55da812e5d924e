from dataclasses import asdict

from fastapi import FastAPI, Request, Response

from api.routes.documents import problems
from api.schemas import PipelineInfo, PipelineList
from api.services import services_of


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
    described = (pipeline.describe() for pipeline in services_of(request).registry.pipelines)
    items = sorted((PipelineInfo(**asdict(item)) for item in described), key=lambda item: item.name)
    return Response(PipelineList(items=items).model_dump_json(), media_type="application/json")
