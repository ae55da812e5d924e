"""Outputs that fit a node's type and say nothing, for nodes that are not called."""

from collections.abc import Mapping
from typing import Any, Final

from events import JsonValue
from pipelines.errors import InvalidOutputError
from pipelines.output import OutputCodec

_DEEPEST: Final = 12
_TEXTS: Final = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "nobody@example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
}


def made_up(codec: OutputCodec) -> JsonValue:
    """Return JSON that comes back as the type, as empty as it may be.

    Raises:
        InvalidOutputError: none could be made.

    """
    schema = codec.json_schema()
    value = _value(schema, schema.get("$defs", {}), depth=0)
    codec.restore(value)
    return value


def _value(schema: Mapping[str, Any], known: Mapping[str, Any], *, depth: int) -> JsonValue:
    if depth > _DEEPEST:
        raise InvalidOutputError("has a type within itself without an end")
    if "$ref" in schema:
        return _value(known[schema["$ref"].rpartition("/")[2]], known, depth=depth + 1)
    for word in ("default", "const"):
        if word in schema:
            given: JsonValue = schema[word]
            return given
    if "enum" in schema:
        first: JsonValue = schema["enum"][0]
        return first
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        chosen = next((one for one in choices if one.get("type") == "null"), choices[0])
        return _value(chosen, known, depth=depth + 1)
    return _of_type(schema, known, depth=depth)


def _of_type(schema: Mapping[str, Any], known: Mapping[str, Any], *, depth: int) -> JsonValue:
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: _value(fields[name], known, depth=depth + 1) for name in schema.get("required", ())}
        case "array":
            items = schema.get("prefixItems") or [schema.get("items", {})] * schema.get("minItems", 0)
            return [_value(item, known, depth=depth + 1) for item in items]
        case "string":
            return str(_TEXTS.get(schema.get("format", ""), "-" * schema.get("minLength", 0)))
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case _:
            return None


def _number(schema: Mapping[str, Any]) -> float | int:
    above = schema.get("exclusiveMinimum")
    least = above + 1 if above is not None else schema.get("minimum", 0)
    most = schema.get("maximum", least)
    number: float | int = min(max(least, 0), most)
    return number
