import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from storage.overview import Overview
from throughline.cli.output import duration
from throughline.top.sections import Section, rates_of, sections_of, standing_of

_WIDE = 120
_LEAST_ROWS = 1
_MOST_ROWS = 20
_FIXED = 5
"""Lines above the lists: the title, the rates and what stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What is shown: the last overview, and what is the matter since when, where there is something.

    As a rich renderable it takes the width it is given. Where it is shown again and again, after a ``pause``, it takes
    the height too, and the longest lists are cut.
    """

    seen: Overview | None = None
    took: float | None = None
    pause: float | None = None
    trouble: str = ""
    since: datetime | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._title()
        if self.trouble:
            yield _line(Text(self._away(), style="bold red"))
        if self.seen is None:
            return
        yield _table(rates_of(self.seen), rows=2)
        yield _line(_joined(standing_of(self.seen)))
        if not self.seen.workers:
            yield Text("no worker is alive", style="bold red")
        sections = [one for one in sections_of(self.seen, wide=options.max_width >= _WIDE) if one.rows]
        wanted = [min(len(section.rows), _MOST_ROWS) for section in sections]
        lines = sys.maxsize if self.pause is None else options.max_height
        room = lines - _FIXED - bool(self.trouble) - (not self.seen.workers) - len(sections)
        for section, rows in zip(sections, share(wanted, room), strict=True):
            if room >= sum(wanted) + len(sections):
                yield Text()
            yield _table(section, rows=rows)

    def _title(self) -> Text:
        words = [("throughline top", "bold")]
        if self.seen is not None:
            words.append((f"{self.seen.at.astimezone(UTC):%H:%M:%S} UTC", ""))
        if self.pause is not None:
            words.append((f"every {duration(self.pause)}", "dim"))
        if self.took is not None:
            words.append((f"looked in {duration(self.took)}", "dim"))
        if self.pause is not None:
            words.append(("q ends it", "dim"))
        return _line(_joined(words))

    def _away(self) -> str:
        since = f" for {duration((datetime.now(UTC) - self.since).total_seconds())}" if self.since else ""
        old = "; below is what was last seen" if self.seen is not None else ""
        return f"no answer from PostgreSQL{since}: {self.trouble}{old}"


def share(wanted: Sequence[int], room: int) -> list[int]:
    """Share ``room`` among lists: each gets as many rows as the others, or as it has, and one at least."""
    given = [_LEAST_ROWS for _ in wanted]
    left = room - sum(given)
    while left > 0 and given != list(wanted):
        for place, most in enumerate(wanted):
            if left > 0 and given[place] < most:
                given[place] += 1
                left -= 1
    return given


def _table(section: Section, *, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
    for place, name in enumerate(_heading(section, rows)):
        is_last = place == len(section.heading) - 1
        table.add_column(
            name,
            no_wrap=True,
            overflow="ellipsis",
            justify="left" if place < section.texts else "right",
            ratio=1 if is_last and section.wide else None,
        )
    if not section.wide:
        table.add_column("", ratio=1)
    for row in section.rows[:rows]:
        table.add_row(*(Text(cell, style=section.style) for cell in row))
    return table


def _heading(section: Section, rows: int) -> Iterator[str]:
    first, *others = section.heading
    is_whole = section.wide or rows >= len(section.rows)
    yield first if is_whole else f"{first} ({rows} of {len(section.rows)})"
    yield from others


def _joined(words: Sequence[tuple[str, str]]) -> Text:
    return Text("   ").join(Text(word, style=style) for word, style in words)


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
