from fastapi import FastAPI, Request, Response

from api.body import headers_of
from api.problems import ProblemType
from api.routes.documents import EVENT_BODY, problems
from api.schemas import AcceptedBatch, AcceptedEvent
from api.services import services_of

_ACCEPTED = 202
_THERE = 200
_STANDS = AcceptedEvent | AcceptedBatch


def register(app: FastAPI) -> None:
    """Add ``POST /events``."""
    location = {"Location": {"schema": {"type": "string"}, "description": "Where the event can be followed."}}
    app.add_api_route(
        "/events",
        post_event,
        methods=["POST"],
        status_code=_ACCEPTED,
        operation_id="postEvent",
        summary="Send an event, or several",
        tags=["events"],
        response_class=Response,
        openapi_extra={"requestBody": EVENT_BODY},
        responses={
            _ACCEPTED: {
                "model": _STANDS,
                "description": "Stored with its runs.",
                "headers": location,
            },
            _THERE: {
                "model": _STANDS,
                "description": "It was there already, with the same content.",
            },
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
    """Store one event, or several in an array, and the runs of every pipeline that takes its type.

    Answered after the commit. Sending the same event again (same source and id, same content) answers 200 with what is
    there. Events of an array are stored and answered each on its own: 202 if any is new, 200 if all that stand were
    there already, a problem with `items` if none stands.
    """
    answer = await services_of(request).intake.answer(request.scope, headers_of(request.scope), request.receive)
    response = Response(answer.body, answer.status)
    response.raw_headers = answer.headers
    return response
