import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from api.problems import Problem, ProblemType

_BODY_TIMEOUT = 10.0
"""Seconds a body may take to arrive; a connection that trickles holds a task and memory for so long."""
_JSON = b"application/json"
_READ = frozenset({b"content-type", b"content-encoding", b"content-length", b"traceparent", b"tracestate"})

Headers = Mapping[bytes, bytes]


def headers_of(scope: Mapping[str, Any]) -> Headers:
    """Pick from a request's headers those that anything here reads; of several with a name the first."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _READ:
            found.setdefault(name, value)
    return found


async def read_json_body(request: Request, limit: int) -> bytes:
    """Return the body of a JSON request; see ``receive_json``."""
    return await receive_json(headers_of(request.scope), request.receive, limit)


async def receive_json(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Return the body of a request that says that it is JSON.

    Bytes are counted while they arrive, so that a body without Content-Length is bounded too.

    Raises:
        Problem: 415 not JSON in UTF-8, 413 more than ``limit`` bytes, 408 it didn't arrive.
        ClientDisconnect: the client left.

    """
    _check_headers(headers, limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            return await _receive_rest(receive, message, limit)
    except TimeoutError:
        raise Problem(
            ProblemType.BODY_INCOMPLETE, f"The body did not arrive within {_BODY_TIMEOUT:g} seconds."
        ) from None


async def _receive_rest(receive: Receive, message: Message, limit: int) -> bytes:
    chunks = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks += message.get("body", b"")
        if len(chunks) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(chunks)
        message = await receive()


def _check_headers(headers: Headers, limit: int) -> None:
    content_type = headers.get(b"content-type", b"")
    if content_type != _JSON:
        _check_content_type(content_type.decode("latin-1"))
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        raise Problem(ProblemType.UNSUPPORTED_BODY, "Content-Encoding is not supported; send the body as it is.")
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        raise _too_large(limit)


def _check_content_type(value: str) -> None:
    media_type, *parameters = [part.strip() for part in value.lower().split(";")]
    is_json = media_type == "application/json" or (media_type.count("/") == 1 and media_type.endswith("+json"))
    charsets = [parameter.partition("=")[2].strip(' "') for parameter in parameters if parameter.startswith("charset")]
    if not is_json:
        raise Problem(ProblemType.UNSUPPORTED_BODY, "Send Content-Type: application/json.")
    if any(charset not in {"utf-8", "utf8"} for charset in charsets):
        raise Problem(ProblemType.UNSUPPORTED_BODY, "JSON is sent in UTF-8; no other charset is supported.")


def _too_large(limit: int) -> Problem:
    return Problem(ProblemType.BODY_TOO_LARGE, f"The body may have at most {limit} bytes.")
