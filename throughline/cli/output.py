import sys

from rich.console import Console

_WIDE = 160

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
errors = Console(stderr=True, highlight=False)

STATUS_STYLE = {
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "running": "cyan",
    "queued": "blue",
    "unrouted": "yellow",
    "skipped": "dim",
    "lost": "red",
    "retried": "yellow",
    "handed_back": "yellow",
}


def say_error(message: str) -> None:
    """Print one line on stderr, as every command does before it ends with a code that isn't 0."""
    errors.print(f"throughline: {message}", style="red", markup=False, soft_wrap=True)


def styled(status: str) -> str:
    """Return ``status`` in its colour, as console markup."""
    style = STATUS_STYLE.get(status, "")
    return f"[{style}]{status}[/{style}]" if style else status


def duration(seconds: float | None) -> str:
    """Return a duration for people: ``0.4 ms``, ``12 ms``, ``3.2 s``, ``2 min 5 s``."""
    if seconds is None:
        return ""
    if seconds < 0.01:  # noqa: PLR2004 - below this a tenth of a millisecond says something
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
