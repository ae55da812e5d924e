"""What a client sends as an event: its attributes by CloudEvents 1.0, its data as any JSON."""

import hashlib
import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from api.json_text import canonical, is_suspect, parse_json, unstorable
from api.rfc3339 import parse_time
from events import JsonValue

LONGEST_TYPE = 255
LONGEST_ID = 255
LONGEST_SOURCE = 512
LONGEST_SUBJECT = 1024

_FIELDS = frozenset({"type", "data", "source", "id", "subject", "time"})
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_MOST_ERRORS = 20
_LONGEST_FIELD = 100


class InvalidEventError(ValueError):
    """The body is JSON but no event; ``errors`` are (field, message) pairs that quote no values."""

    def __init__(self, errors: list[tuple[str, str]], *, type_: str | None = None) -> None:
        super().__init__("the event is not valid")
        self.errors = errors
        self.type = type_


class IncomingEvent(NamedTuple):
    """An event as it was sent; None where nothing was. ``text`` is ``data`` as canonical JSON."""

    type: str
    source: str | None
    id: str | None
    subject: str | None
    time: datetime | None
    data: JsonValue
    text: bytes
    content_hash: bytes


def read_event(body: bytes) -> IncomingEvent:
    """Read one event from a request's body.

    Raises:
        MalformedJsonError: it is not JSON.
        InvalidEventError: it is no event.

    """
    return event_of(parse_json(body), suspect=is_suspect(body))


def event_of(document: JsonValue, *, suspect: bool) -> IncomingEvent:
    """Take an event from JSON that was read; ``suspect`` is what ``is_suspect`` says of the text.

    Raises:
        InvalidEventError: it is no event.

    """
    if not isinstance(document, dict):
        raise InvalidEventError([("body", "must be a JSON object")])
    errors = _attribute_errors(document)
    if "data" not in document:
        errors.append(("data", "is required"))
    elif suspect:
        errors += unstorable(document["data"], "data")
    if errors:
        raise InvalidEventError(errors[:_MOST_ERRORS], type_=_text(document, "type"))
    return _event(document)


def _event(document: dict[str, Any]) -> IncomingEvent:
    """Take an event of which nothing is wrong."""
    type_, subject, sent_time = document["type"], document.get("subject"), document.get("time")
    text = canonical(document["data"])
    return IncomingEvent(
        type=type_,
        source=document.get("source"),
        id=document.get("id"),
        subject=subject,
        time=parse_time(sent_time) if sent_time is not None else None,
        data=document["data"],
        text=text,
        content_hash=hashlib.sha256(canonical([type_, subject, sent_time]) + text).digest(),
    )


def attribute_error(value: object, longest: int) -> str | None:
    """Say what is wrong with an attribute's text: None when it is a non-empty string without control characters."""
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "must not be empty"
    if len(value) > longest:
        return f"must have at most {longest} characters"
    if not (value.isascii() and value.isprintable()) and _FORBIDDEN.search(value):
        return "must not contain control characters"
    return None


def _attribute_errors(document: dict[str, JsonValue]) -> list[tuple[str, str]]:
    unknown = () if _FIELDS.issuperset(document) else sorted(document.keys() - _FIELDS)
    errors = [(name[:_LONGEST_FIELD], "there is no such field") for name in unknown]
    if document.get("type") is None:
        errors.append(("type", "is required"))
    for name, longest in _LONGEST:
        value = document.get(name)
        if value is None or (
            type(value) is str and 0 < len(value) <= longest and value.isascii() and value.isprintable()
        ):
            continue
        if message := attribute_error(value, longest):
            errors.append((name, message))
    source = document.get("source")
    if isinstance(source, str) and source and not _is_uri_reference(source):
        errors.append(("source", "must be a URI-reference (RFC 3986)"))
    if document.get("time") is not None:
        try:
            parse_time(document["time"])
        except ValueError as error:
            errors.append(("time", str(error)))
    return errors


@lru_cache(maxsize=256)
def _is_uri_reference(text: str) -> bool:
    return _URI_REFERENCE.fullmatch(text) is not None


_LONGEST = (("type", LONGEST_TYPE), ("source", LONGEST_SOURCE), ("id", LONGEST_ID), ("subject", LONGEST_SUBJECT))


def _text(document: dict[str, JsonValue], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None
