from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_FIELDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a node, as the outside world noted it."""

    run_id: str
    node: str
    attempt: int
    at: float


def read_calls(path: Path) -> dict[str, list[Call]]:
    """Return all calls by run, in the order in which they were made."""
    calls: dict[str, list[Call]] = defaultdict(list)
    if not path.exists():
        return calls
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) == _FIELDS:
            run_id, node, attempt, at, _ = words
            calls[run_id].append(Call(run_id=run_id, node=node, attempt=int(attempt), at=float(at)))
    return calls
