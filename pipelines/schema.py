from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from events import JsonValue


class EventSchema(BaseModel):
    """The shape of an event type's ``data``: what a flow reads, and nothing else.

    Fields that it doesn't declare are ignored, so that a sender may add some. Frozen: all nodes of a run see the same.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


SchemaT = TypeVar("SchemaT", bound=BaseModel)


def parse(schema: type[SchemaT], data: JsonValue) -> SchemaT:
    """Read ``data`` as a schema, by the rules for JSON.

    A strict schema takes a time or a UUID from JSON text, but not from the Python string that the decoded body holds:
    so what is refused as Python is asked once more as JSON, whose answer counts.

    Raises:
        ValidationError: it does not fit.

    """
    try:
        return schema.model_validate(data)
    except ValidationError:
        try:
            text = to_json(data)
        except (PydanticSerializationError, UnicodeEncodeError, ValueError):
            text = None
        if text is None:
            raise
        return schema.model_validate_json(text)
