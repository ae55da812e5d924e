import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement

if TYPE_CHECKING:
    from rich.table import Table

_WIDE = 160
_WIDEST = 10_000

console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)
errors = Console(stderr=True, highlight=False)

_UNITS = ((86400, "d", "h"), (3600, "h", "min"), (60, "min", "s"))

STATUS_STYLE = {
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "running": "cyan",
    "queued": "blue",
    "unrouted": "yellow",
    "awaited": "blue",
    "suspended": "blue",
    "stopped": "green",
    "skipped": "dim",
    "lost": "red",
    "retried": "yellow",
    "handed_back": "yellow",
}


def say_error(message: str) -> None:
    """Print one line on stderr, as every command does before it ends with a code that isn't 0."""
    errors.print(f"throughline: {message}", style="red", markup=False, soft_wrap=True)


def print_whole(table: "Table") -> None:
    """Print a table as wide as it is: where the terminal is narrower, lines go on in the next one and no id is cut."""
    wide = console.options.update(width=_WIDEST)
    table.width = Measurement.get(console, wide, table).maximum
    console.print(table, crop=False, no_wrap=True, overflow="ignore")


def styled(status: str) -> str:
    """Return ``status`` in its colour, as console markup."""
    style = STATUS_STYLE.get(status, "")
    return f"[{style}]{status}[/{style}]" if style else status


def plain(text: str) -> str:
    """Return ``text`` in one line, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))


def duration(seconds: float | None) -> str:
    """Return a duration for people: ``0.4 ms``, ``12 ms``, ``3.2 s``, ``2 min 5 s``, ``3 h 7 min``, ``2 d``."""
    if seconds is None:
        return ""
    if seconds < 0.01:  # noqa: PLR2004 - below this a tenth of a millisecond says something
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    size, large, small = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    rest = int(seconds % size // (size // (24 if large == "d" else 60)))
    return f"{int(seconds // size)} {large}" + (f" {rest} {small}" if rest else "")
