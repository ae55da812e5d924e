"""Everything that is not a success, as RFC 9457 problem details."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from opentelemetry.trace import get_current_span
from pydantic_core import to_json

MEDIA_TYPE = "application/problem+json"

_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem: its name in ``/problems/{name}``, its status and what it means to a client."""

    name: str
    status: HTTPStatus
    title: str
    meaning: str


class ProblemType(Enum):
    """Every problem that has a type of its own; the others are ``about:blank``, told by their status alone."""

    MALFORMED_JSON = ProblemKind(
        "malformed-json",
        HTTPStatus.BAD_REQUEST,
        "The body is not JSON",
        "The body can't be read as JSON (RFC 8259, UTF-8, no byte order mark). Nothing was stored.",
    )
    INVALID_EVENT = ProblemKind(
        "invalid-event",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The event is not valid",
        "The body is JSON but no valid event; errors names each field. Nothing was stored.",
    )
    INVALID_REQUEST = ProblemKind(
        "invalid-request",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request is not valid",
        "A parameter in the path, the query or the body is not valid; errors names each one.",
    )
    UNSUPPORTED_BODY = ProblemKind(
        "unsupported-body",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body's type is not supported",
        "Send Content-Type: application/json (or one ending in +json), in UTF-8 and without Content-Encoding.",
    )
    BODY_TOO_LARGE = ProblemKind(
        "body-too-large",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is too large",
        "The body has more bytes than this server takes (THROUGHLINE_API_MAX_BODY_BYTES). Nothing was stored.",
    )
    BODY_INCOMPLETE = ProblemKind(
        "body-incomplete",
        HTTPStatus.REQUEST_TIMEOUT,
        "The body did not arrive",
        "The connection stayed open, but the body did not come in time. Nothing was stored.",
    )
    EVENT_CONFLICT = ProblemKind(
        "event-conflict",
        HTTPStatus.CONFLICT,
        "Another event has this source and id",
        "An event with this source and id is there, with other content. Location names it. Nothing was stored.",
    )
    EVENT_NOT_FOUND = ProblemKind(
        "event-not-found", HTTPStatus.NOT_FOUND, "There is no such event", "No event has this event_id."
    )
    RUN_NOT_FOUND = ProblemKind(
        "run-not-found", HTTPStatus.NOT_FOUND, "There is no such run", "No run has this run_id."
    )
    PIPELINE_NOT_FOUND = ProblemKind(
        "pipeline-not-found",
        HTTPStatus.NOT_FOUND,
        "There is no such pipeline",
        "This release has no pipeline of this name; GET /pipelines lists those it has.",
    )
    RUN_ENDED = ProblemKind(
        "run-ended",
        HTTPStatus.CONFLICT,
        "The run has ended",
        "Only a run that is queued or running can be cancelled; run_status tells how this one ended.",
    )
    NOT_REPLAYABLE = ProblemKind(
        "not-replayable",
        HTTPStatus.CONFLICT,
        "It can't be replayed as it stands",
        "A run is replayed when it has ended, and once: after that its replay stands in its place, and replayed_by "
        "names it. It begins at a node only if what was done before that fits the pipeline as it is now. An event is "
        "replayed when all of its runs have ended and a pipeline takes its type.",
    )
    OVERLOADED = ProblemKind(
        "overloaded",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too many events wait to be stored",
        "More events came in than PostgreSQL takes. Nothing was stored; send it again after Retry-After seconds.",
    )
    UNAVAILABLE = ProblemKind(
        "unavailable",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "PostgreSQL is not available",
        "PostgreSQL could not be reached or did not answer in time. Nothing was stored; try again after Retry-After.",
    )
    OUTCOME_UNKNOWN = ProblemKind(
        "outcome-unknown",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "It is not known whether the event was stored",
        "The commit was sent but its answer was lost. Sending the event again with the same source and id is safe; "
        "GET /events/{event_id} tells whether it is there.",
    )
    INTERNAL = ProblemKind(
        "internal",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something went wrong here",
        "A fault of ours; trace_id finds its log lines.",
    )


class Problem(Exception):  # noqa: N818 - RFC 9457's word; it is the answer, not a fault of ours
    """Ends a request with a problem. ``members`` are extension members; ``errors`` are (field, message) pairs."""

    def __init__(
        self,
        type_: ProblemType,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.type = type_
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.type.value.status)


def current_trace_id() -> str | None:
    """Return the current span's trace id, 32 hex digits; None outside a request."""
    context = get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def problem_response(request: Request, problem: Problem) -> Response:
    """Write ``problem`` as the answer to ``request``."""
    return _response(request, problem_content(problem), status=problem.status, headers=problem.headers)


def problem_content(problem: Problem) -> dict[str, Any]:
    """Return the members of ``problem`` that are the same in every answer."""
    kind = problem.type.value
    content = {
        "type": f"/problems/{kind.name}",
        "title": kind.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        content["errors"] = [{"field": field, "message": message} for field, message in problem.errors]
    return content | problem.members


def status_response(request: Request, status: int, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a problem that its status alone explains."""
    known = HTTPStatus(status)
    detail = f"{known.description or known.phrase}: {request.method} {request.scope['path'][:_LONGEST_PATH]}"
    body = {"type": "about:blank", "title": known.phrase, "status": status, "detail": detail}
    return _response(request, body, status=status, headers=headers)


def _response(request: Request, body: dict[str, Any], *, status: int, headers: Mapping[str, str] | None) -> Response:
    body["instance"] = request.scope["path"][:_LONGEST_PATH]
    body["trace_id"] = current_trace_id()
    return Response(
        to_json(body), status, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store", **(headers or {})}
    )
