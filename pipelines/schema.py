from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from events import JsonValue


class EventSchema(BaseModel):
    """The shape of an event type's ``data``: what a flow reads, and nothing else.

    Fields that it doesn't declare are ignored, so that a sender may add some. Frozen: all nodes of a run see the same.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


SchemaT = TypeVar("SchemaT", bound=BaseModel)


def parse(schema: type[SchemaT], data: JsonValue) -> SchemaT:
    """Read ``data``, a decoded JSON body, as a schema, by the rules for JSON.

    For most schemas those are the rules for Python objects too, which cost less. Not for a strict one, which takes a
    time or a UUID from JSON text but not from a Python string.

    Raises:
        ValidationError: it does not fit.

    """
    if _minds_the_source(schema):
        return schema.model_validate_json(to_json(data))
    return schema.model_validate(data)


@lru_cache(maxsize=1024)
def _minds_the_source(schema: type[BaseModel]) -> bool:
    return _is_marked(schema.__pydantic_core_schema__)


def _is_marked(part: object) -> bool:
    if isinstance(part, Mapping):
        return part.get("strict") is True or "val_json_bytes" in part or any(map(_is_marked, part.values()))
    return isinstance(part, list | tuple) and any(map(_is_marked, part))
