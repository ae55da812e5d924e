import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from events import JsonValue
from pipelines.error_info import fields_of
from pipelines.errors import InvalidOutputError

_NOT_JSON: Final = "returned NaN, Infinity or another value that JSON does not have"

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Output:
    """A node's output as it is stored, and as the JSON text that later nodes read it from."""

    value: JsonValue
    text: str


class OutputCodec:
    """Turns the outputs of one declared type into JSON and back.

    Raises:
        PydanticSchemaGenerationError: the type has no JSON form.

    """

    def __init__(self, declared: object) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", declared))
        self._name = getattr(declared, "__name__", None) or str(declared)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema of what comes back from the stored text."""
        return self._adapter.json_schema()

    def encode(self, output: object) -> Output:
        r"""Dump ``output``, having made sure that PostgreSQL can store it and that it comes back from there.

        Raises:
            InvalidOutputError: it is of another type, or holds NaN, Infinity, ``\u0000``, a lone surrogate or
                something else that jsonb can't hold. The message has no value in it.

        """
        try:
            value = self._adapter.serializer.to_python(output, mode="json", round_trip=True, warnings="error")
        except PydanticSerializationError:
            raise InvalidOutputError(f"returned {self._explain(output)}") from None
        except (ValueError, RecursionError) as error:
            raise InvalidOutputError(f"returned what has no JSON form ({type(error).__name__})") from None
        text = _text(value)
        if "null" in text and (_has_non_finite(value) or _has_non_finite(self._adapter.dump_python(output))):
            # NaN is written as null, by Pydantic where a model says Any: it would change on its way, and nobody notice.
            raise InvalidOutputError(_NOT_JSON)
        try:
            self._read(text)
        except ValidationError as error:
            raise InvalidOutputError(
                f"returned {type(output).__name__}, which does not come back from JSON as {self._name}: "
                f"{fields_of(error)}"
            ) from None
        return Output(value, text)

    def restore(self, value: JsonValue) -> Output:
        """Take up an output that was stored by an earlier attempt.

        Raises:
            InvalidOutputError: it no longer fits the declared type.

        """
        text = _text(value)
        self.decode(text)
        return Output(value, text)

    def decode(self, text: str) -> Any:
        """Return a new object made from the stored text, so that no node changes what another sees.

        Raises:
            InvalidOutputError: the text does not fit the declared type.

        """
        try:
            return self._read(text)
        except ValidationError as error:
            raise InvalidOutputError(f"its output does not come back as {self._name}: {fields_of(error)}") from None

    def _read(self, text: str) -> Any:
        return self._adapter.validator.validate_json(text, by_alias=True, by_name=True)

    def _explain(self, output: object) -> str:
        try:
            self._adapter.validate_python(output, from_attributes=True)
        except ValidationError as error:
            return f"{type(output).__name__}, which does not fit {self._name}: {fields_of(error)}"
        except Exception as error:  # noqa: BLE001 - a user's validator may raise anything; this only words a message
            return f"{type(output).__name__}, which does not fit {self._name} ({type(error).__name__})"
        return f"{type(output).__name__}, which can't be written as JSON of {self._name}"


def _text(value: JsonValue) -> str:
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        text = _slow_text(value)
    if "\\u0000" in text and _has_nul(value):
        raise InvalidOutputError("returned text with \\u0000, which PostgreSQL can't store")
    return text


def _slow_text(value: JsonValue) -> str:
    """Write what orjson won't, such as an integer beyond 64 bits, or say what is wrong with it."""
    try:
        text = _encode(value)
        text.encode()
    except UnicodeEncodeError:
        raise InvalidOutputError("returned text with a lone surrogate, which can't be stored") from None
    except (TypeError, ValueError, RecursionError):
        raise InvalidOutputError(_NOT_JSON) from None
    return text


def _has_non_finite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(_has_non_finite(item) for item in value.values())
    return isinstance(value, list | tuple | set | frozenset) and any(_has_non_finite(item) for item in value)


def _has_nul(value: JsonValue) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, Sequence) and any(_has_nul(item) for item in value)
