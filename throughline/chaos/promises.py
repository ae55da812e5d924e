"""What was promised besides the work itself: answers, recovery times, processes that live. Each breach is one line."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from throughline.chaos.ledger import Answer, Ledger, quantile
from throughline.chaos.recovery import Injection

SLOWEST_REFUSAL: Final = 2.5
"""Seconds a 503 may take: the 2 that are promised, and what measuring on a busy machine adds."""
MOST_RATIO: Final = 3.0
"""How many times its median in peace the median of a 202 may take while Redis is away."""
LEAST_SAMPLES: Final = 20
_AFTERWARDS: Final = 1.0
_WELL: Final = frozenset({"200", "202"})


def breaches(injections: Sequence[Injection], ledger: Ledger, *, ended: Sequence[str]) -> list[str]:
    """Return every breach; ``ended`` are the processes that ended though no fault ended them."""
    found = list(_recoveries(injections))
    found += _answers(injections, ledger)
    if (slowest := ledger.slowest_refusal()) > SLOWEST_REFUSAL:
        found.append(f"a 503 took {slowest:.1f} s")
    if (ratio := latency_ratio(ledger)) is not None and ratio > MOST_RATIO:
        found.append(f"a 202 took {ratio:.1f} times as long while Redis was away")
    return found + [f"ended unasked: {line}" for line in ended]


def latency_ratio(ledger: Ledger) -> float | None:
    """Return how many times its median in peace a 202's median was while Redis was away; None with few of either."""
    peace, away = ledger.latencies(away=False), ledger.latencies(away=True)
    if min(len(peace), len(away)) < LEAST_SAMPLES:
        return None
    return (quantile(away, 0.5) or 0.0) / (quantile(peace, 0.5) or 1.0)


def _recoveries(injections: Sequence[Injection]) -> Iterator[str]:
    for one in injections:
        name, limit = one.fault.name, one.fault.limit
        if one.idle:
            yield f"{name} did nothing: {one.idle}"
        if one.recovery is None:
            yield f"{name} never recovered: {', '.join(one.missing)}"
        elif one.late:
            yield f"{name} recovered after {one.recovery:.1f} s, {limit:g} s are allowed"


def _answers(injections: Sequence[Injection], ledger: Ledger) -> Iterator[str]:
    wrong = Counter(
        f"{answer.phase}: a POST was answered {answer.said} {answer.why}".strip()
        for answer in ledger.answers
        if answer.said not in _WELL and not _is_allowed(answer, injections)
    )
    for line, times in wrong.items():
        yield f"{line}, {times} times"


def _is_allowed(answer: Answer, injections: Sequence[Injection]) -> bool:
    """Whether a fault under way when the answer came, or just before the request, may be answered so."""
    near = [
        one.fault
        for one in injections
        if one.began <= answer.at and answer.at - answer.seconds <= one.over + _AFTERWARDS
    ]
    match answer.said:
        case "503":
            return any(fault.postgres_away for fault in near)
        case "refused":
            return any(fault.api_stops for fault in near)
        case "broken":
            return any(fault.api_dies for fault in near)
        case _:
            return False
