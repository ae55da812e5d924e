from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from events import JsonValue
from pipelines.schema import parse

MOST_PROBLEMS: Final = 20
_MOST_COUNTED: Final = 1_000
_LONGEST_PART: Final = 64
_LONGEST_MESSAGE: Final = 300
_BY_AUTHOR: Final = frozenset({"value_error", "assertion_error"})
_BY_PYDANTIC: Final = frozenset(get_args(ErrorType)) - _BY_AUTHOR - {"union_tag_invalid"}
_OBJECT: Final = frozenset({"model_type", "model_attributes_type", "dict_type", "dataclass_type"})


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of an event, e.g. at ``("data", "issue", "number")``. Never holds its value."""

    path: tuple[str | int, ...]
    message: str


def problems_in(data: JsonValue, schemas: Iterable[type[BaseModel]]) -> tuple[FieldProblem, ...]:
    """Check ``data`` against every schema; return what is wrong, each once, ``MOST_PROBLEMS`` at most."""
    found: dict[FieldProblem, None] = {}
    for schema in schemas:
        try:
            parse(schema, data)
        except ValidationError as error:
            found.update(dict.fromkeys(_problems(error)))
        except Exception as error:  # noqa: BLE001 - a schema's own validators may raise anything
            found[FieldProblem(("data",), f"can't be checked ({type(error).__name__} in {schema.__name__})")] = None
    return tuple(found)[:MOST_PROBLEMS]


def _problems(error: ValidationError) -> list[FieldProblem]:
    if error.error_count() > _MOST_COUNTED:
        # Listing them would cost seconds on the event loop, and nobody reads them.
        return [FieldProblem(("data",), f"{error.error_count()} problems, too many to list")]
    details = error.errors(include_url=False)
    return [FieldProblem(_path(detail), _message(detail)[:_LONGEST_MESSAGE]) for detail in details[:MOST_PROBLEMS]]


def _path(detail: ErrorDetails) -> tuple[str | int, ...]:
    return ("data", *(part[:_LONGEST_PART] if isinstance(part, str) else part for part in detail["loc"]))


def _message(detail: ErrorDetails) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind in _OBJECT:
        return "Input should be an object"
    if kind == "union_tag_invalid":
        return f"Input's tag should be one of {detail['ctx']['expected_tags']}"
    if kind in _BY_PYDANTIC or not any(text in message for text in _texts(detail["input"])):
        return message
    return "Input is not valid"


def _texts(value: object) -> Iterable[str]:
    """List the texts in a value: an author's validator may have put one of them into its message."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (*_texts(key), *_texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
