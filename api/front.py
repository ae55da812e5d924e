import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.body import Headers, headers_of
from api.intake import Answer, Intake
from api.measuring import EVENTS_PATH, Requests
from api.middleware import NOSNIFF, failed
from observability.tracing import context_from, server_span, set_response


class Front:
    """Answers ``POST /events`` itself, and leaves all else to ``app``, whose layers cost more than storing an event.

    What surrounds a request is the same here as there: its span, its duration, a last resort for errors.
    """

    def __init__(self, app: ASGIApp, intake: Intake, *, requests: Requests) -> None:
        self._app = app
        self._intake = intake
        self._requests = requests

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """See ASGI."""
        if (
            scope["type"] == "http"
            and scope["path"] == EVENTS_PATH
            and scope["method"] == "POST"
            and not scope.get("root_path")
        ):
            return self._post(scope, receive, send)
        return self._app(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = headers_of(scope)
        context = context_from(_text(headers, b"traceparent"), _text(headers, b"tracestate"))
        status = 500
        with server_span(
            "POST", EVENTS_PATH, context=context, scheme=scope.get("scheme", "http"), server=scope.get("server")
        ) as span:
            try:
                answer = await self._answer(scope, headers, receive)
                status = answer.status
                await send({"type": "http.response.start", "status": status, "headers": [*answer.headers, NOSNIFF]})
                await send({"type": "http.response.body", "body": answer.body})
            finally:
                set_response(span, method="POST", status=status, route=EVENTS_PATH)
                seconds = time.perf_counter() - began
                self._requests.measured(method="POST", route=EVENTS_PATH, status=status, seconds=seconds)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive) -> Answer:
        try:
            return await self._intake.answer(scope, headers, receive)
        except Exception as error:  # noqa: BLE001 - the last resort
            return Answer.of(failed(scope, error))


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
