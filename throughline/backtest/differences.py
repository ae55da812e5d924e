from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from events import JsonValue


@dataclass(frozen=True, slots=True)
class Nothing:
    """Stands where one side has no value."""


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A place where production and the code differ, such as ``outputs.classify.category``."""

    path: str
    production: "JsonValue | Nothing"
    code: "JsonValue | Nothing"


def differences(path: str, production: "JsonValue | Nothing", code: "JsonValue | Nothing") -> Iterator[Difference]:
    """Yield the innermost places below ``path`` where two JSON values differ."""
    if isinstance(production, Mapping) and isinstance(code, Mapping):
        for key in dict.fromkeys([*production, *code]):
            yield from differences(f"{path}.{key}", production.get(key, NOTHING), code.get(key, NOTHING))
    elif isinstance(production, list) and isinstance(code, list):
        for place in range(max(len(production), len(code))):
            yield from differences(f"{path}.{place}", _at(production, place), _at(code, place))
    elif not _same(production, code):
        yield Difference(path=path, production=production, code=code)


def _at(values: list[JsonValue], place: int) -> "JsonValue | Nothing":
    return values[place] if place < len(values) else NOTHING


def _same(one: object, other: object) -> bool:
    """Say whether two values are one in JSON, where true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
