from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from api.problems import Problem, ProblemType, problem_response, status_response
from storage.engine import DatabaseUnavailable

_LONGEST_FIELD = 100
_MOST_NAMED = 10
_MESSAGES = {
    "extra_forbidden": "there is no such parameter",
    "missing": "is required",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
}


def install(app: FastAPI) -> None:
    """Make every error that reaches the app an RFC 9457 answer."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(DatabaseUnavailable, _unavailable)
    app.add_exception_handler(ClientDisconnect, _client_gone)


def allowed_methods(request: Request) -> list[str]:
    """List what may be done with the request's path, whichever routes share it."""
    path = request.scope["path"]
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.path_regex.match(path):
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods | {"OPTIONS"})


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class only
    return problem_response(request, error)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    if error.status_code != 405:  # noqa: PLR2004 - HTTP's own
        return status_response(request, error.status_code, headers=error.headers)
    allow = {"Allow": ", ".join(allowed_methods(request))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    return status_response(request, 405, headers=allow)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    errors = [_field_error(item) for item in error.errors()]
    named = [f"{field}: {message}" for field, message in errors[:_MOST_NAMED]] or ["a parameter is not valid"]
    more = [f"and {len(errors) - _MOST_NAMED} more"] if len(errors) > _MOST_NAMED else []
    detail = "; ".join([*named, *more])
    return problem_response(request, Problem(ProblemType.INVALID_REQUEST, detail, errors=errors))


def _field_error(item: dict[str, Any]) -> tuple[str, str]:
    location = [str(part) for part in item["loc"] if part not in {"query", "path"}]
    message = _MESSAGES.get(item["type"]) or str(item["msg"]).removeprefix("Value error, ")
    return ".".join(location)[:_LONGEST_FIELD], message


async def _unavailable(request: Request, _error: Exception) -> Response:
    return problem_response(
        request,
        Problem(ProblemType.UNAVAILABLE, "PostgreSQL can't be reached; try again.", headers={"Retry-After": "1"}),
    )


async def _client_gone(request: Request, _error: Exception) -> Response:
    """Nobody reads this; the status is for the metrics."""
    return status_response(request, 400)
