"""What two pipelines say differently of the data of an event that both take."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

from pipelines import Pipeline
from pipelines.event_types import TypeTable

_DEEPEST = 20

Said: TypeAlias = tuple[tuple[Pipeline[Any], ...], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taker:
    """What takes events: a pipeline, or a node of it that waits for some."""

    pipeline: Pipeline[Any]
    name: str
    types: tuple[str, ...]
    schema: Mapping[str, Any]
    waits: bool = False


def contradictions(pipelines: Iterable[Pipeline[Any]]) -> Iterator[Said]:
    """Yield what is contradictory, with the pipelines that it is about."""
    for one, other in combinations([taker for pipeline in pipelines for taker in _takers(pipeline)], 2):
        are_versions = one.pipeline.name == other.pipeline.name and not (one.waits or other.waits)
        shared = None if are_versions else _shared_type(one, other)
        if shared is None:
            continue
        for path, first, second in _differing(_Schema(one.schema), _Schema(other.schema), "data"):
            said = (
                f"{one.name} and {other.name} both take {shared}, but of {path} one wants {first}, the other {second}: "
                "no event fits both; change a schema or the types"
            )
            yield tuple(dict.fromkeys((one.pipeline, other.pipeline))), said


def _takers(pipeline: Pipeline[Any]) -> Iterator[_Taker]:
    name = f"pipeline {pipeline.name!r}"
    yield _Taker(pipeline=pipeline, name=name, types=pipeline.types, schema=pipeline.json_schema)
    for awaited in pipeline.awaits:
        yield _Taker(
            pipeline=pipeline,
            name=f"{name}, node {awaited.node!r}",
            types=(awaited.type,),
            schema=awaited.schema.model_json_schema(),
            waits=True,
        )


def _shared_type(one: _Taker, other: _Taker) -> str | None:
    """Return a type or prefix that both take."""
    for taker, patterns in ((one, other.types), (other, one.types)):
        table: TypeTable[_Taker] = TypeTable([taker])
        for pattern in patterns:
            example = f"{pattern[:-1]}any" if pattern.endswith(".*") else pattern
            if table.find(example):
                return pattern
    return None


class _Schema:
    """A part of a JSON schema, in which references are followed."""

    def __init__(self, part: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> None:
        self._root = part if root is None else root
        while "$ref" in part:
            part = self._root["$defs"][part["$ref"].rpartition("/")[2]]
        self._part = part

    @property
    def required(self) -> dict[str, "_Schema"]:
        fields = self._part.get("properties", {})
        return {name: _Schema(fields[name], self._root) for name in self._part.get("required", ()) if name in fields}

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of JSON that it allows; none means any."""
        choices = self._part.get("anyOf") or self._part.get("oneOf")
        if choices:
            kinds = [_Schema(choice, self._root).kinds for choice in choices]
            return frozenset().union(*kinds) if all(kinds) else frozenset()
        kind = self._part.get("type")
        found = frozenset(kind) if isinstance(kind, list) else frozenset({kind}) if kind else frozenset()
        return found | {"integer"} if "number" in found else found

    @property
    def values(self) -> frozenset[str]:
        """The values that it allows, as text; none means any of its kinds."""
        return frozenset(map(repr, [self._part["const"]] if "const" in self._part else self._part.get("enum", ())))

    def excludes(self, other: "_Schema") -> bool:
        """Say whether nothing fits both."""
        return any(
            mine and theirs and mine.isdisjoint(theirs)
            for mine, theirs in ((self.kinds, other.kinds), (self.values, other.values))
        )

    def __str__(self) -> str:
        return " or ".join(sorted(self.values or self.kinds))


def _differing(one: _Schema, other: _Schema, path: str) -> Iterator[tuple[str, _Schema, _Schema]]:
    """Yield the paths that both schemas need and that no value fits."""
    theirs = other.required
    for name, mine in one.required.items():
        if name not in theirs or path.count(".") > _DEEPEST:
            continue
        if mine.excludes(theirs[name]):
            yield f"{path}.{name}", mine, theirs[name]
        else:
            yield from _differing(mine, theirs[name], f"{path}.{name}")
