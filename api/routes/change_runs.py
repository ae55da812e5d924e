"""What operators do to runs: cancel, replay and purge. Each is safe to ask for again when an answer was lost."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from api.dead import Purger
from api.options import options_body, read_options
from api.problems import Problem, ProblemType
from api.replaying import Replayer
from api.routes.documents import problems
from api.run_schemas import (
    BulkPurge,
    BulkPurged,
    BulkReplay,
    BulkReplayed,
    CancelledRun,
    CancelOptions,
    ReplayedEvent,
    ReplayedRun,
    ReplayOptions,
    run_links,
)
from api.services import services_of
from api.tenancy import tenant_of
from events import RunStatus
from observability.logs import get_logger
from storage.cancels import request_cancel
from storage.runs import get_run

_DONE = 200
_ACCEPTED = 202
_BODY = (
    ProblemType.MALFORMED_JSON,
    ProblemType.BODY_INCOMPLETE,
    ProblemType.BODY_TOO_LARGE,
    ProblemType.UNSUPPORTED_BODY,
    ProblemType.INVALID_REQUEST,
    ProblemType.UNAVAILABLE,
)

_log = get_logger(__name__)


def register(app: FastAPI) -> None:
    """Add ``POST /runs/{run_id}/cancel``, ``…/replay``, ``/events/{event_id}/replay``, and those for dead runs."""
    _add(
        app,
        "/runs/{run_id}/cancel",
        post_cancel,
        operation_id="cancelRun",
        summary="Cancel a run",
        openapi_extra=options_body(CancelOptions, because={"reason": "sent twice"}),
        responses={
            _DONE: {"model": CancelledRun, "description": "It was queued and has ended."},
            _ACCEPTED: {"model": CancelledRun, "description": "It is running; its worker was asked to end it."},
            **problems(ProblemType.RUN_NOT_FOUND, ProblemType.RUN_ENDED, *_BODY),
        },
    )
    _add(
        app,
        "/runs/{run_id}/replay",
        post_replay_run,
        operation_id="replayRun",
        summary="Replay a run",
        openapi_extra=options_body(ReplayOptions, whole={}, from_a_node={"from": "classify"}),
        responses={
            _ACCEPTED: {"model": ReplayedRun, "description": "A new run was made."},
            **problems(ProblemType.RUN_NOT_FOUND, ProblemType.NOT_REPLAYABLE, *_BODY),
        },
    )
    _add(
        app,
        "/events/{event_id}/replay",
        post_replay_event,
        operation_id="replayEvent",
        summary="Replay an event",
        responses={
            _ACCEPTED: {"model": ReplayedEvent, "description": "A new run was made for each pipeline of its type."},
            **problems(
                ProblemType.EVENT_NOT_FOUND,
                ProblemType.NOT_REPLAYABLE,
                ProblemType.INVALID_REQUEST,
                ProblemType.UNAVAILABLE,
            ),
        },
    )
    _add(
        app,
        "/runs/replay",
        post_replay_dead,
        operation_id="replayDeadRuns",
        summary="Replay dead runs",
        openapi_extra=options_body(
            BulkReplay,
            look_first={"pipeline": "issue_triage", "failure_kind": "timeout", "dry_run": True},
            the_hundred_oldest={"pipeline": "issue_triage", "limit": 100, "dry_run": False},
        ),
        responses={_DONE: {"model": BulkReplayed}, **problems(*_BODY)},
    )
    _add(
        app,
        "/runs/purge",
        post_purge_dead,
        operation_id="purgeDeadRuns",
        summary="Remove dead runs with their events",
        openapi_extra=options_body(
            BulkPurge,
            look_first={"pipeline": "issue_triage", "before": "2026-01-01T00:00:00Z", "dry_run": True},
            remove={"pipeline": "issue_triage", "before": "2026-01-01T00:00:00Z", "dry_run": False},
        ),
        responses={_DONE: {"model": BulkPurged}, **problems(*_BODY)},
    )


def _add(app: FastAPI, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any) -> None:
    app.add_api_route(path, endpoint, methods=["POST"], tags=["runs"], response_class=Response, **options)


async def post_cancel(request: Request, run_id: UUID) -> Response:
    """End a queued run, or ask a running one to end at its next await or node edge.

    Whichever commits first stands: a run that ends before its worker hears of it keeps its end.
    """
    options = await read_options(request, CancelOptions)
    tenant = tenant_of(request)
    async with services_of(request).changing() as connection:
        asked = await request_cancel(connection, tenant=tenant, run_ids=[run_id], reason=options.reason)
        story = await get_run(connection, tenant=tenant, run_id=run_id)
    if story is None:
        raise Problem(ProblemType.RUN_NOT_FOUND, "No run has this run_id.")
    status = asked.get(run_id)
    if status is not RunStatus.CANCELLED and status is not RunStatus.RUNNING:
        members = {"run_status": story.run.status.value}
        raise Problem(ProblemType.RUN_ENDED, f"The run has ended as {story.run.status}.", members=members)
    _log.info("cancel requested", run_id=str(run_id), event_id=str(story.event_id), status=status)
    return _answer(
        CancelledRun(run_id=run_id, status=status, links=run_links(run_id, story.event_id)),
        _DONE if status is RunStatus.CANCELLED else _ACCEPTED,
    )


async def post_replay_run(request: Request, run_id: UUID) -> Response:
    """Make a new run in the place of one that has ended, from a node on where one is given.

    A run is replayed once; asking again names the run that was made.
    """
    options = await read_options(request, ReplayOptions)
    made = await _replayer(request).run(run_id, node=options.from_)
    return _answer(made, _ACCEPTED)


async def post_replay_event(request: Request, event_id: UUID) -> Response:
    """Make new runs of an event for the pipelines that take its type now; an unrouted one is routed."""
    return _answer(await _replayer(request).event(event_id), _ACCEPTED)


async def post_replay_dead(request: Request) -> Response:
    """Replay dead runs that match, in batches; ``dry_run`` says how many there are, and which come first."""
    options = await read_options(request, BulkReplay)
    return _answer(await _replayer(request).dead(options), _DONE)


async def post_purge_dead(request: Request) -> Response:
    """Remove dead runs that match, with their events, in batches; with ``dry_run`` say how many, and which come first.

    An event goes as a whole or stays: it stays while another of its runs is open, or dead and not meant.
    """
    options = await read_options(request, BulkPurge)
    return _answer(await Purger(services_of(request), tenant=tenant_of(request)).dead(options), _DONE)


def _replayer(request: Request) -> Replayer:
    return Replayer(services_of(request), tenant=tenant_of(request))


def _answer(model: BaseModel, status: int) -> Response:
    return Response(
        model.model_dump_json(), status, media_type="application/json", headers={"Cache-Control": "no-store"}
    )
