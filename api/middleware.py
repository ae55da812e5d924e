"""What surrounds every request: its span, its duration, a last resort for errors; paths and methods made plain."""

import time
from collections.abc import MutableMapping
from typing import Any

from fastapi import Request, Response
from opentelemetry.trace import get_current_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.measuring import Requests
from api.problems import Problem, ProblemType, problem_response
from observability.logs import get_logger
from observability.tracing import context_from, record_error, server_span, set_response

_UNMATCHED = "unmatched"
_QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
NOSNIFF = (b"x-content-type-options", b"nosniff")

_log = get_logger(__name__)


class PlainRequests:
    """Takes ``/events/`` for ``/events``, and answers HEAD as GET without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path.endswith("/") and len(path) > 1:
            scope["path"] = path.rstrip("/") or "/"
        if scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # A copy: the server must go on seeing HEAD. The route is handed back for the metrics.
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, send_without_body)
        finally:
            scope["route"] = as_get.get("route")


class _Answer:
    """What was answered so far; passes messages on with the headers that every answer has."""

    __slots__ = ("_send", "started", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 500
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.started = True
            message["headers"] = [*message.get("headers", ()), NOSNIFF]
        await self._send(message)


class Observed:
    """Makes the server's span, measures the request, and turns an error nobody handled into a 500 without internals.

    Probes and scrapes are measured, but have no span.
    """

    def __init__(self, app: ASGIApp, *, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        began = time.perf_counter()
        if scope["path"].rstrip("/") in _QUIET:
            await self._measured(scope, receive, answer, began)
            return
        headers = _trace_headers(scope)
        with server_span(
            scope["method"],
            scope["path"],
            context=context_from(headers.get(b"traceparent"), headers.get(b"tracestate")),
            scheme=scope.get("scheme", "http"),
            server=scope.get("server"),
        ) as span:
            try:
                await self._measured(scope, receive, answer, began)
            finally:
                set_response(span, method=scope["method"], status=answer.status, route=_route(scope))

    async def _measured(self, scope: Scope, receive: Receive, answer: _Answer, began: float) -> None:
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:  # noqa: BLE001 - the last resort
            response = failed(scope, error)
            if not answer.started:
                await response(scope, receive, answer.send)
        finally:
            self._requests.measured(
                method=scope["method"],
                route=_route(scope) or _UNMATCHED,
                status=answer.status,
                seconds=time.perf_counter() - began,
            )


def failed(scope: Scope, error: Exception) -> Response:
    """Tell span and log of an error that nobody handled; return the answer, without internals."""
    record_error(get_current_span(), error)
    _log.error("request failed", path=scope["path"], exc_info=error)
    return problem_response(
        Request(scope), Problem(ProblemType.INTERNAL, "Something went wrong here; trace_id finds the log lines.")
    )


def _route(scope: Scope) -> str | None:
    return getattr(scope.get("route"), "path", None)


def _trace_headers(scope: MutableMapping[str, Any]) -> dict[bytes, str]:
    return {
        name: value.decode("latin-1") for name, value in scope["headers"] if name in {b"traceparent", b"tracestate"}
    }
