from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from events import JsonValue
from pipelines.arrivals import AwaitedType
from pipelines.discovery import discover
from pipelines.errors import DuplicatePipelineError
from pipelines.event_types import TypeTable
from pipelines.limits import Limit, check_agreement
from pipelines.pipeline import Pipeline
from pipelines.problems import FieldProblem, problems_in


class PipelineRegistry:
    """Which pipelines there are, and which of them an event type goes to. Never changes once it is made.

    There may be several versions of one name. ``pipelines`` has the newest of each, which is where new events go, and
    what they are checked against; ``every`` has all of them, for the runs that began in an older one.
    """

    def __init__(self, pipelines: Iterable[Pipeline[Any]]) -> None:
        self._versions: dict[str, dict[int, Pipeline[Any]]] = {}
        for pipeline in pipelines:
            if self._versions.setdefault(pipeline.name, {}).setdefault(pipeline.version, pipeline) is not pipeline:
                raise DuplicatePipelineError(
                    f"two pipelines are named {pipeline.name!r} and have version {pipeline.version}; "
                    "rename one, or give it another version"
                )
        self.every = tuple(pipeline for versions in self._versions.values() for _, pipeline in sorted(versions.items()))
        self._newest = {pipeline.name: pipeline for pipeline in self.every}
        self.pipelines = tuple(self._newest.values())
        check_agreement(item for pipeline in self.pipelines for item in _limits(pipeline))
        self._table: TypeTable[Pipeline[Any]] = TypeTable(self.pipelines)
        self._awaited = _by_type(self.every)
        self._held_to = _by_type(self.pipelines)

    @classmethod
    def load(cls, modules: Iterable[str] = (), *, builtin: bool = True) -> "PipelineRegistry":
        """Find the pipelines in ``modules`` and, if ``builtin``, in ``pipelines/flows/``.

        Raises:
            PipelineError: see ``discover``.

        """
        return cls(discover(modules, builtin=builtin))

    @property
    def types(self) -> frozenset[str]:
        """Every type and prefix (``github.*``) that some pipeline takes."""
        return self._table.patterns

    def get(self, name: str, version: int | None = None) -> Pipeline[Any] | None:
        """Return the pipeline of this name, by default its newest version; None if this program does not have it."""
        if version is None:
            return self._newest.get(name)
        return self._versions.get(name, {}).get(version)

    def versions(self, name: str) -> tuple[Pipeline[Any], ...]:
        """Return all versions of a pipeline, the newest last."""
        return tuple(pipeline for _, pipeline in sorted(self._versions.get(name, {}).items()))

    def route(self, event_type: str) -> tuple[Pipeline[Any], ...]:
        """Return the pipelines that an event of this type goes to; none means that nobody takes it."""
        return self._table.find(event_type)

    def awaited(self, event_type: str) -> tuple[AwaitedType, ...]:
        """Return what nodes may wait for in events of this type, also those of older versions."""
        return self._awaited.get(event_type, ())

    def validate(self, event_type: str, data: JsonValue) -> tuple[FieldProblem, ...]:
        """Return what is wrong with an event's ``data`` by the schemas of all pipelines it goes to or is awaited in.

        What older versions make of it is not minded: no sender is held to both.
        """
        return problems_in(data, _schemas(self.route(event_type), self._held_to.get(event_type, ())))


def _limits(pipeline: Pipeline[Any]) -> Iterable[tuple[tuple[str, int], str, Limit]]:
    """Return the limits of a pipeline and of its nodes, with its name and version and the place of each."""
    owner, place = (pipeline.name, pipeline.version), f"pipeline {pipeline.name!r}"
    for limit in pipeline.limits:
        yield owner, place, limit
    for step in pipeline.all_steps.values():
        for limit in step.limits:
            yield owner, f"{place}, node {step.name!r}", limit


def _schemas(pipelines: tuple[Pipeline[Any], ...], awaited: tuple[AwaitedType, ...]) -> Iterable[type[BaseModel]]:
    if len(pipelines) == 1 and not awaited:
        return (pipelines[0].schema,)
    return dict.fromkeys((*(pipeline.schema for pipeline in pipelines), *(one.schema for one in awaited)))


def _by_type(pipelines: Iterable[Pipeline[Any]]) -> dict[str, tuple[AwaitedType, ...]]:
    found: dict[str, list[AwaitedType]] = {}
    for pipeline in pipelines:
        for one in pipeline.awaits:
            found.setdefault(one.type, []).append(one)
    return {awaited: tuple(every) for awaited, every in found.items()}
