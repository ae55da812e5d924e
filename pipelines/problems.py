from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from events import JsonValue
from pipelines.schema import parse
from pipelines.wording import wording

MOST_PROBLEMS: Final = 20
_MOST_COUNTED: Final = 1_000
_LONGEST_PART: Final = 64
_LONGEST_MESSAGE: Final = 300


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
    return [FieldProblem(_path(detail), wording(detail)[:_LONGEST_MESSAGE]) for detail in details[:MOST_PROBLEMS]]


def _path(detail: ErrorDetails) -> tuple[str | int, ...]:
    return ("data", *(part[:_LONGEST_PART] if isinstance(part, str) else part for part in detail["loc"]))
