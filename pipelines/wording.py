"""What Pydantic finds wrong, in words that hold no value."""

import re
from collections.abc import Iterable
from typing import Final, get_args

from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

_BY_AUTHOR: Final = frozenset({"value_error", "assertion_error"})
_BY_PYDANTIC: Final = frozenset(get_args(ErrorType)) - _BY_AUTHOR - {"union_tag_invalid"}
_OF_ANOTHER: Final = frozenset({"get_attribute_error", "iteration_error"})
"""Pydantic quotes the error that somebody's object raised, which may quote anything."""
_OBJECT: Final = frozenset({"model_type", "model_attributes_type", "dict_type", "dataclass_type"})
_SHOULD: Final = re.compile(r"^[\w' ]+? (?=should )")
_PREDICATES: Final = {"missing": "is missing", "extra_forbidden": "is not one of its fields"}


def wording(detail: ErrorDetails) -> str:
    """Return what Pydantic or a validator says of a problem; an author's message only if no value is in it."""
    kind, message = detail["type"], detail["msg"]
    if kind in _OBJECT:
        return "Input should be an object"
    if kind == "union_tag_invalid":
        return f"Input's tag should be one of {detail['ctx']['expected_tags']}"
    if kind in _OF_ANOTHER:
        return "Input is not valid"
    if kind in _BY_PYDANTIC or not any(text in message for text in _texts(detail["input"])):
        return message
    return "Input is not valid"


def predicate(detail: ErrorDetails) -> str:
    """Return the same as what can be said of a field: ``is missing``, ``should be a valid string``."""
    known = _PREDICATES.get(detail["type"])
    if known:
        return known
    said = wording(detail)
    if said == "Input is not valid":
        return "is not valid"
    without_subject = _SHOULD.sub("", said)
    return without_subject if without_subject != said else f"is not valid: {said}"


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
