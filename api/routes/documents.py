"""What OpenAPI shows of bodies that are read by hand, and of the problems every endpoint may answer with."""

from http import HTTPStatus
from typing import Any

from api.incoming import LONGEST_ID, LONGEST_SOURCE, LONGEST_SUBJECT, LONGEST_TYPE
from api.problems import MEDIA_TYPE, ProblemType

_EXAMPLE = {
    "type": "github.issues",
    "source": "https://github.com/acme/shop",
    "id": "delivery-72d3162e",
    "data": {"action": "opened", "issue": {"number": 7, "title": "Checkout fails", "body": "It says 500."}},
}

_PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}

_EVENT: dict[str, Any] = {
    "title": "NewEvent",
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "data"],
    "properties": {
        "type": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_TYPE,
            "description": "What happened; decides which pipelines run.",
        },
        "data": {"description": "Any JSON that fits the schemas of the pipelines that take the type."},
        "source": {
            "type": ["string", "null"],
            "format": "uri-reference",
            "minLength": 1,
            "maxLength": LONGEST_SOURCE,
            "description": "Where it happened; `throughline` where none is given.",
        },
        "id": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": LONGEST_ID,
            "description": "Names the event within its source. With it, sending again is safe.",
        },
        "subject": {"type": ["string", "null"], "minLength": 1, "maxLength": LONGEST_SUBJECT},
        "time": {"type": ["string", "null"], "format": "date-time", "description": "RFC 3339, with a zone."},
    },
}

EVENT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [_EVENT, {"type": "array", "minItems": 1, "items": _EVENT}]},
            "examples": {
                "issue": {"summary": "An issue was opened", "value": _EXAMPLE},
                "several": {"summary": "Several events", "value": [_EXAMPLE, _EXAMPLE | {"id": "delivery-72d3162f"}]},
            },
        }
    },
}


def problems(*types: ProblemType) -> dict[int | str, dict[str, Any]]:
    """Document these problems, and the 500 that any endpoint may end in."""
    found: dict[int | str, dict[str, Any]] = {}
    for type_ in (*types, ProblemType.INTERNAL):
        kind = type_.value
        status = int(kind.status)
        before = found.get(status)
        text = f"{kind.title}. {kind.meaning}"
        found[status] = {
            "description": f"{before['description']} Or: {text}" if before else text,
            "content": {MEDIA_TYPE: {"schema": _PROBLEM}},
        }
        if kind.status is HTTPStatus.SERVICE_UNAVAILABLE:
            found[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return found
