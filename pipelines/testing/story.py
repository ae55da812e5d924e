"""What became of a run, in a few lines: what a failed assertion shows."""

import difflib
from collections.abc import Iterator, Sequence

from events import Cancelled, ErrorInfo, Failed, QueueReason
from pipelines.testing.life import Life, Wait


def story(life: Life, path: Sequence[str], *, left: Sequence[str] = ()) -> str:
    """Tell a run's tries, waits, ``path`` and end; ``left`` are the events that ended no wait."""
    return "\n".join(_lines(life, path, left))


def _lines(life: Life, path: Sequence[str], left: Sequence[str]) -> Iterator[str]:
    waits = list(life.waits)
    for attempt in life.attempts:
        yield f"  try {attempt.number} at {span(attempt.began)}: {attempt.outcome}{_error(attempt.error)}"
        while waits and waits[0].began <= attempt.ended:
            yield f"    {_wait(waits.pop(0))}"
    yield f"  ran: {' -> '.join(path) or 'no node'}"
    if left:
        yield f"  came, and ended no wait: {', '.join(left)}"
    outcome = life.outcome
    if isinstance(outcome, Failed):
        yield f"  failed: {outcome.kind}{_error(outcome.error)}"
        if outcome.error.traceback:
            yield from (f"    {line}" for line in outcome.error.traceback.splitlines())
    elif isinstance(outcome, Cancelled):
        yield f"  cancelled: {outcome.reason}"


def span(seconds: float) -> str:
    """Return a span of time: ``0 s``, ``90 s``, ``2 d 3:00:00``."""
    if seconds < 3600:  # noqa: PLR2004 - an hour
        return f"{seconds:g} s"
    days, rest = divmod(round(seconds), 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def differing(expected: Sequence[str], found: Sequence[str]) -> str:
    """Show two lists of words, one a line: what is only expected behind ``-``, what is only there behind ``+``."""
    return "\n".join(f"  {line}" for line in difflib.ndiff(expected, found) if not line.startswith("?"))


def _error(error: ErrorInfo | None) -> str:
    if error is None:
        return ""
    where = f" in {error.node}" if error.node else ""
    return f", {error.type}{where}: {error.message}"


def _wait(wait: Wait) -> str:
    took = span(wait.ended - wait.began)
    if wait.reason is QueueReason.LIMITED:
        return f"{wait.node}: admitted by {', '.join(sorted(limit.name for limit in wait.limits))}"
    if wait.awaited is None:
        return f"{wait.node}: slept {took}"
    awaited = f"{wait.awaited.type} with {wait.awaited.path} = {wait.awaited.key!r}"
    return f"{wait.node}: {awaited} {'came' if wait.event else 'did not come'} within {took}"
