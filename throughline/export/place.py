import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a pipeline can be imported from."""

    module: str
    name: str


def place_of(pipeline: Pipeline[Any]) -> Place | None:
    """Return where a loaded pipeline stands: beside its first node, if it is there, too; None if it has no name."""
    found = list(_places(pipeline))
    home = pipeline.start.__module__
    return next((place for place in found if place.module == home), found[0] if found else None)


def _places(pipeline: Pipeline[Any]) -> Iterator[Place]:
    for module_name, module in sorted(sys.modules.items()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is pipeline and name.isidentifier():
                yield Place(module=module_name, name=name)
