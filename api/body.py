import asyncio
from collections.abc import MutableMapping
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.problems import Problem, ProblemType

_BODY_TIMEOUT = 10.0
"""Seconds a body may take to arrive; a connection that trickles holds a task and memory for so long."""


async def read_json_body(request: Request, limit: int) -> bytes:
    """Return the body of a JSON request.

    Bytes are counted while they arrive, so that a body without Content-Length is bounded too.

    Raises:
        Problem: 415 not JSON in UTF-8, 413 more than ``limit`` bytes, 408 it didn't arrive.
        ClientDisconnect: the client left.

    """
    _check_headers(request, limit)
    message = await request.receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            return await _read_rest(request, message, limit)
    except TimeoutError:
        raise Problem(
            ProblemType.BODY_INCOMPLETE, f"The body did not arrive within {_BODY_TIMEOUT:g} seconds."
        ) from None


async def _read_rest(request: Request, message: MutableMapping[str, Any], limit: int) -> bytes:
    chunks = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks += message.get("body", b"")
        if len(chunks) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(chunks)
        message = await request.receive()


def _check_headers(request: Request, limit: int) -> None:
    headers = request.headers
    content_type = headers.get("content-type")
    if content_type != "application/json":
        _check_content_type(content_type)
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(ProblemType.UNSUPPORTED_BODY, "Content-Encoding is not supported; send the body as it is.")
    length = headers.get("content-length")
    if length is not None and length.isdecimal() and int(length[:20]) > limit:
        raise _too_large(limit)


def _check_content_type(value: str | None) -> None:
    media_type, *parameters = [part.strip() for part in (value or "").lower().split(";")]
    is_json = media_type == "application/json" or (media_type.count("/") == 1 and media_type.endswith("+json"))
    charsets = [parameter.partition("=")[2].strip(' "') for parameter in parameters if parameter.startswith("charset")]
    if not is_json:
        raise Problem(ProblemType.UNSUPPORTED_BODY, "Send Content-Type: application/json.")
    if any(charset not in {"utf-8", "utf8"} for charset in charsets):
        raise Problem(ProblemType.UNSUPPORTED_BODY, "JSON is sent in UTF-8; no other charset is supported.")


def _too_large(limit: int) -> Problem:
    return Problem(ProblemType.BODY_TOO_LARGE, f"The body may have at most {limit} bytes.")
