from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from api.body import read_json_body
from api.json_text import MalformedJsonError, parse_json
from api.problems import Problem, ProblemType

OptionsT = TypeVar("OptionsT", bound=BaseModel)

_LONGEST_BODY = 10_000


async def read_options(request: Request, model: type[OptionsT]) -> OptionsT:
    """Read an operator's request: a small JSON object, or nothing where every field may be left out.

    Raises:
        Problem: 400 not JSON, 413 too large, 415 not sent as JSON.
        RequestValidationError: a field is not valid.

    """
    document: object = {}
    if _has_body(request):
        try:
            document = parse_json(await read_json_body(request, _LONGEST_BODY))
        except MalformedJsonError as error:
            raise Problem(ProblemType.MALFORMED_JSON, f"The body is not JSON: {error}.") from None
    try:
        return model.model_validate(document)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([item | {"loc": item["loc"] or ("body",)} for item in errors]) from None


def options_body(model: type[BaseModel], **examples: dict[str, Any]) -> dict[str, Any]:
    """Document the body that ``read_options`` reads."""
    schema = model.model_json_schema()
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"content": {"application/json": {"schema": schema, "examples": shown}}}}


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
