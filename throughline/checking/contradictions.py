"""What two pipelines say differently of the same thing: a limit, or the data of an event that both take."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, TypeAlias

from pipelines import Pipeline
from pipelines.event_types import TypeTable
from pipelines.limits import Limit
from throughline.trial.answers import every_step

_DEEPEST = 20

Said: TypeAlias = tuple[tuple[Pipeline[Any], ...], str]


def contradictions(pipelines: Iterable[Pipeline[Any]]) -> Iterator[Said]:
    """Yield what is contradictory, with the pipelines that it is about."""
    every = tuple(pipelines)
    yield from _limits(every)
    for one, other in combinations(every, 2):
        shared = _shared_type(one, other)
        if shared is None or one.name == other.name:
            continue
        for path, first, second in _differing(_Schema(one.json_schema), _Schema(other.json_schema), "data"):
            said = (
                f"pipeline {one.name!r} and pipeline {other.name!r} both take {shared}, but of {path} one wants "
                f"{first}, the other {second}: no event fits both; change a schema or the types"
            )
            yield (one, other), said


def _limits(pipelines: tuple[Pipeline[Any], ...]) -> Iterator[Said]:
    seen: dict[str, tuple[Pipeline[Any], Limit]] = {}
    for pipeline in pipelines:
        for limit in _limits_of(pipeline):
            first, known = seen.setdefault(limit.name, (pipeline, limit))
            if (known.concurrency, known.rate, known.by) != (limit.concurrency, limit.rate, limit.by):
                said = (
                    f"pipeline {pipeline.name!r} gives limit {limit.name!r} other numbers, or another key, than "
                    f"pipeline {first.name!r}, with which it shares it; make them the same, or rename one"
                )
                yield tuple(dict.fromkeys((first, pipeline))), said


def _limits_of(pipeline: Pipeline[Any]) -> Iterator[Limit]:
    yield from getattr(pipeline, "limits", ())
    for step in every_step(pipeline):
        yield from getattr(step.node, "limits", ())


def _shared_type(one: Pipeline[Any], other: Pipeline[Any]) -> str | None:
    """Return a type or prefix that both take."""
    for taker, patterns in ((one, other.types), (other, one.types)):
        table: TypeTable[Pipeline[Any]] = TypeTable([taker])
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
