"""What ``docs/logs.md`` says of the lines that come with events."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parents[2] / "docs" / "logs.md"
_ALWAYS = frozenset({"timestamp", "level", "event", "logger", "service", "pid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedLine:
    """A kind of line, as its row of the table describes it."""

    event: str
    logger: str
    level: str
    fields: frozenset[str]
    sometimes: frozenset[str]

    def require(self, line: Mapping[str, Any]) -> None:
        """Hold a line that was written against the row."""
        assert (line["logger"], line["level"]) == (self.logger, self.level)
        assert set(line) - self.sometimes == self.fields | _ALWAYS, line


def described_lines(*, level: str) -> dict[str, DescribedLine]:
    """Return the rows of one level, by the lines' text."""
    table = _PAGE.read_text(encoding="utf-8").split("## What an event writes")[1].split("\n## ")[0]
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in row.split("|")] for row in table.splitlines() if "| `" in row]
    return {
        event: DescribedLine(
            event=event, logger=logger, level=level, fields=frozenset(fields), sometimes=frozenset(sometimes)
        )
        for _, [event], [logger], [found], fields, sometimes, *_ in rows
        if found == level
    }
