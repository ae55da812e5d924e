import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, Self

_PLACE: Final = re.compile(r"pipeline '([^']*)'(?:, (?:node|router) '([^']*)')?")


class Level(StrEnum):
    """An error keeps the processes from starting; a warning is what will surprise somebody later."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake: where it is, what is wrong and the mend. ``place`` is a file and its line, where known."""

    level: Level
    module: str
    message: str
    place: str = ""
    pipeline: str | None = None
    node: str | None = None

    @classmethod
    def of(cls, message: str, *, module: str, place: str = "", level: Level = Level.ERROR) -> Self:
        """Return what a message of ours tells, which names the pipeline and the node."""
        named = _PLACE.search(message)
        pipeline, node = named.groups() if named else (None, None)
        line = " ".join(message.split())
        return cls(level=level, module=module, message=line, place=place, pipeline=pipeline, node=node)

    def __str__(self) -> str:
        return f"{self.level}: {self.place or self.module}: {self.message}"

    def as_dict(self) -> dict[str, str | None]:
        """Return it as JSON's values."""
        return {**asdict(self), "level": self.level.value}
