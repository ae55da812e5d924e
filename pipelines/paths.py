"""Ways to a value of an event: ``subject``, ``source``, ``type``, or into its data, ``data.ticket.id``."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_args

from pydantic import BaseModel

from events import JsonValue
from pipelines.errors import InvalidPathError

_PATH: Final = re.compile(r"subject|source|type|data(\.[A-Za-z_][A-Za-z0-9_-]*){1,8}")
LONGEST_KEY: Final = 255


class Attributes(NamedTuple):
    """What a path may lead to."""

    type: str
    source: str | None
    subject: str | None
    data: JsonValue


def check_path(place: str, path: object, *, schema: type[BaseModel] | None = None) -> None:
    """Refuse what is no path, or leads to a field of the data that ``schema`` doesn't have.

    Raises:
        InvalidPathError: it is one of these.

    """
    if not (isinstance(path, str) and _PATH.fullmatch(path)):
        raise InvalidPathError(
            f"{place} is {path!r}; give 'subject', 'source', 'type' or a way such as 'data.order.id'"
        )
    if schema is not None and path.startswith("data."):
        _check_fields(place, path, schema)


def value_at(path: str, attributes: Attributes) -> str | None:
    """Return the value at ``path`` as a key; None where there is none, or it is a list or an object.

    Numbers and booleans are written as in JSON. A key has at most 255 characters: what is longer is cut.
    """
    first, *rest = path.split(".")
    found: Any = getattr(attributes, first)
    for part in rest:
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return _key(found)


def _key(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)[:LONGEST_KEY]
    return None


def _check_fields(place: str, path: str, schema: type[BaseModel]) -> None:
    model: type[BaseModel] | None = schema
    walked = "data"
    for part in path.split(".")[1:]:
        if model is None:
            return
        names = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        if part not in names:
            known = ", ".join(f"{walked}.{name}" for name in names)
            raise InvalidPathError(f"{place} is {path!r}, but {model.__name__} has no {part!r}; it has {known}")
        walked = f"{walked}.{part}"
        model = _model_in(names[part])


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation stands for, also beside None; None where it is no model, or several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [found for argument in get_args(annotation) if (found := _model_in(argument)) is not None]
    return models[0] if len(models) == 1 else None
