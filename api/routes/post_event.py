from fastapi import FastAPI, Request, Response

from api.body import read_json_body
from api.problems import Problem, ProblemType
from api.routes.documents import EVENT_BODY, problems
from api.schemas import AcceptedEvent
from api.services import services_of
from api.tenancy import tenant_of

_ACCEPTED = 202
_THERE = 200


def register(app: FastAPI) -> None:
    """Add ``POST /events``."""
    location = {"Location": {"schema": {"type": "string"}, "description": "Where the event can be followed."}}
    app.add_api_route(
        "/events",
        post_event,
        methods=["POST"],
        status_code=_ACCEPTED,
        operation_id="postEvent",
        summary="Send an event",
        tags=["events"],
        response_class=Response,
        openapi_extra={"requestBody": EVENT_BODY},
        responses={
            _ACCEPTED: {"model": AcceptedEvent, "description": "Stored with its runs.", "headers": location},
            _THERE: {"model": AcceptedEvent, "description": "It was there already, with the same content."},
            **problems(
                ProblemType.MALFORMED_JSON,
                ProblemType.BODY_INCOMPLETE,
                ProblemType.EVENT_CONFLICT,
                ProblemType.BODY_TOO_LARGE,
                ProblemType.UNSUPPORTED_BODY,
                ProblemType.INVALID_EVENT,
                ProblemType.OVERLOADED,
                ProblemType.UNAVAILABLE,
                ProblemType.OUTCOME_UNKNOWN,
            ),
        },
    )


async def post_event(request: Request) -> Response:
    """Store an event and the runs of every pipeline that takes its type; answered after the commit.

    Sending the same event again (same source and id, same content) answers 200 with what is there.
    """
    services = services_of(request)
    try:
        body = await read_json_body(request, services.settings.api.max_body_bytes)
    except Problem:
        services.acceptor.count_rejected()
        raise
    accepted = await services.acceptor.accept(body, tenant=tenant_of(request))
    return Response(
        services.presenter.accepted(accepted),
        _ACCEPTED if accepted.stored.created else _THERE,
        media_type="application/json",
        headers={"Location": f"/events/{accepted.stored.event_id}", "Cache-Control": "no-store"},
    )
