import asyncio
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from api.problems import Problem, ProblemType
from api.routes.documents import problems
from api.schemas import PipelineDetail, PipelineInfo, PipelineLinks, PipelineList
from api.services import services_of
from pipelines import Pipeline, PipelineRegistry
from pipelines.drawing import mermaid, picture_of, svg

_INERT: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "no-cache",
}
"""A picture that is opened by itself may style itself, and do nothing else."""


def register(app: FastAPI) -> None:
    """Add ``GET /pipelines``, ``GET /pipelines/{name}`` and ``GET /pipelines/{name}/graph.svg``."""
    _add(app, "", get_pipelines, id_="listPipelines", summary="List pipelines", answers={200: {"model": PipelineList}})
    missing = problems(ProblemType.PIPELINE_NOT_FOUND)
    _add(
        app,
        "/{name}",
        get_pipeline,
        id_="getPipeline",
        summary="Show a pipeline",
        answers={200: {"model": PipelineDetail}, **missing},
    )
    _add(
        app,
        "/{name}/graph.svg",
        get_graph,
        id_="getPipelineGraph",
        summary="Draw a pipeline",
        answers={200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}}, **missing},
    )


def _add(
    app: FastAPI, path: str, endpoint: Any, *, id_: str, summary: str, answers: dict[int | str, dict[str, Any]]
) -> None:
    app.add_api_route(
        f"/pipelines{path}",
        endpoint,
        methods=["GET"],
        operation_id=id_,
        summary=summary,
        tags=["pipelines"],
        response_class=Response,
        responses={**answers, **{status: told for status, told in problems().items() if status not in answers}},
    )


async def get_pipelines(request: Request) -> Response:
    """List the pipelines of this release with their nodes, the event types they take and the schema of ``data``."""
    registry = services_of(request).registry
    items = sorted((_info(pipeline, registry) for pipeline in registry.pipelines), key=lambda item: item.name)
    return Response(PipelineList(items=items).model_dump_json(), media_type="application/json")


def _info(pipeline: Pipeline[Any], registry: PipelineRegistry) -> PipelineInfo:
    return PipelineInfo(**_described(pipeline, registry))


def _described(pipeline: Pipeline[Any], registry: PipelineRegistry) -> dict[str, Any]:
    versions = [known.version for known in registry.versions(pipeline.name)]
    return {**asdict(pipeline.describe()), "versions": versions}


async def get_pipeline(request: Request, name: str) -> Response:
    """Show one pipeline, with its graph as a Mermaid flowchart."""
    pipeline = _pipeline(request, name)
    described = _described(pipeline, services_of(request).registry)
    links = PipelineLinks(self=f"/pipelines/{name}", graph=f"/pipelines/{name}/graph.svg")
    text = mermaid(picture_of(pipeline))
    shown = PipelineDetail(**described, mermaid=text, links=links)
    return Response(shown.model_dump_json(), media_type="application/json")


async def get_graph(request: Request, name: str) -> Response:
    """Draw one pipeline as SVG."""
    drawn = await asyncio.to_thread(_drawn, _pipeline(request, name))
    return Response(drawn, media_type="image/svg+xml", headers=_INERT)


@lru_cache(maxsize=128)
def _drawn(pipeline: Pipeline[Any]) -> str:
    return svg(picture_of(pipeline), name=pipeline.name)


def _pipeline(request: Request, name: str) -> Pipeline[Any]:
    pipeline = services_of(request).registry.get(name)
    if pipeline is None:
        raise Problem(ProblemType.PIPELINE_NOT_FOUND, "No pipeline of this release has this name.")
    return pipeline
