from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import FastAPI, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.cursor import decode_cursor, encode_cursor
from api.problems import Problem, ProblemType
from api.routes.documents import problems
from api.run_schemas import RunDetail, RunPage, Text, Time, run_links
from api.run_schemas import RunItem as ShownRun
from api.schemas import PageLinks
from api.services import services_of
from api.tenancy import tenant_of
from events import FailureKind, RunStatus
from storage.runs import RunFilter, RunItem, get_run, list_runs


def _cursor(value: str) -> str:
    decode_cursor(value)
    return value


class RunQuery(BaseModel):
    """The parameters of ``GET /runs``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: RunStatus | None = None
    pipeline: Text | None = None
    type: Text | None = Field(default=None, description="Exact type of the event.")
    failure_kind: FailureKind | None = None
    replayed: bool | None = Field(
        default=None, description="Whether another run stands in for it. Dead runs: status=failed&replayed=false."
    )
    after: Time | None = Field(default=None, description="Ended at or after; RFC 3339 with a zone (+ is sent as %2B).")
    before: Time | None = Field(default=None, description="Ended before; RFC 3339 with a zone.")
    limit: int = Field(default=50, ge=1, le=200, description="Runs on a page, at most.")
    cursor: Annotated[str, AfterValidator(_cursor)] | None = Field(
        default=None, description="next_cursor of the page before; keep the other parameters as they were."
    )

    def filter(self) -> RunFilter:
        """Return what they mean to storage."""
        return RunFilter(
            status=self.status,
            pipeline=self.pipeline,
            type=self.type,
            failure_kind=self.failure_kind,
            replayed=self.replayed,
            after=self.after,
            before=self.before,
        )

    def link_to(self, cursor: str) -> str:
        """Return the address of the page after ``cursor``."""
        given = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return "/runs?" + urlencode(given | {"cursor": cursor})


def register(app: FastAPI) -> None:
    """Add ``GET /runs`` and ``GET /runs/{run_id}``."""
    app.add_api_route(
        "/runs",
        get_runs,
        methods=["GET"],
        operation_id="listRuns",
        summary="List runs, newest first",
        tags=["runs"],
        response_class=Response,
        responses={200: {"model": RunPage}, **problems(ProblemType.INVALID_REQUEST, ProblemType.UNAVAILABLE)},
    )
    app.add_api_route(
        "/runs/{run_id}",
        get_one_run,
        methods=["GET"],
        operation_id="getRun",
        summary="Follow one run",
        tags=["runs"],
        response_class=Response,
        responses={
            200: {"model": RunDetail},
            **problems(ProblemType.RUN_NOT_FOUND, ProblemType.INVALID_REQUEST, ProblemType.UNAVAILABLE),
        },
    )


async def get_runs(request: Request, query: Annotated[RunQuery, Query()]) -> Response:
    """List a page of runs, newest first; follow ``links.next`` for the next one."""
    async with services_of(request).reading() as connection:
        found = await list_runs(
            connection,
            tenant=tenant_of(request),
            matching=query.filter(),
            cursor=decode_cursor(query.cursor) if query.cursor else None,
            limit=query.limit + 1,
        )
    page = found[: query.limit]
    cursor = encode_cursor(page[-1].run_id) if len(found) > len(page) else None
    return _answer(
        RunPage(
            items=[_item(item) for item in page],
            next_cursor=cursor,
            links=PageLinks(next=query.link_to(cursor) if cursor else None),
        )
    )


async def get_one_run(request: Request, run_id: UUID) -> Response:
    """Tell the whole story of a run: each attempt, each node's result, what it repeats and what repeats it."""
    services = services_of(request)
    async with services.reading() as connection:
        story = await get_run(connection, tenant=tenant_of(request), run_id=run_id)
    if story is None:
        raise Problem(ProblemType.RUN_NOT_FOUND, "No run has this run_id.")
    return _answer(services.presenter.run(story))


def _item(item: RunItem) -> ShownRun:
    return ShownRun(
        run_id=item.run_id,
        event_id=item.event_id,
        type=item.event_type,
        pipeline=item.pipeline,
        pipeline_version=item.pipeline_version,
        queue=item.queue,
        status=item.status,
        reason=item.reason,
        attempt=item.attempt,
        failure_kind=item.failure_kind,
        error={key: value for key, value in item.error.items() if key != "traceback"} if item.error else None,
        created_at=item.created_at,
        finished_at=item.finished_at,
        replay_of=item.replay_of,
        links=run_links(item.run_id, item.event_id),
    )


def _answer(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})
