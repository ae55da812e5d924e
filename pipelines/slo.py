from dataclasses import dataclass, field
from typing import cast

from pipelines.checks import is_seconds
from pipelines.errors import InvalidSloError


@dataclass(frozen=True, kw_only=True)
class Target:
    """A share of the runs, above 0 and below 1, and the seconds within which it is to have what is promised."""

    within: float | None = None
    share: float = 0.99


@dataclass(frozen=True, kw_only=True)
class Slo:
    """What a pipeline promises of its runs; None for a part promises nothing of it, and no alert minds it.

    ``queueing``: of the claims, ``share`` come within ``within`` seconds of the moment a run was due; backoff is not
    counted. ``execution``: of the runs that succeed or fail, ``share`` succeed, by a last try that took ``within``
    seconds at most, or, where that is None, as long as the pipeline's ``timeout`` lets it.
    """

    queueing: Target | None = field(default_factory=lambda: Target(within=30.0))
    execution: Target | None = field(default_factory=Target)


def check_slo(place: str, slo: object, *, timeout: float) -> None:
    """Refuse targets that can't be met, can't be missed, or can't be measured.

    Raises:
        InvalidSloError: one is such.

    """
    if slo is None:
        return
    if not isinstance(slo, Slo):
        raise InvalidSloError(f"{place}: slo is {slo!r}; give a Slo(...), or None to promise nothing")
    for name in ("queueing", "execution"):
        problem = _problem(getattr(slo, name), timed=name == "queueing", most=timeout if name == "execution" else None)
        if problem:
            raise InvalidSloError(f"{place}: slo: {name} {problem}")


def _problem(target: object, *, timed: bool, most: float | None) -> str | None:
    if target is None:
        return None
    if not isinstance(target, Target):
        return f"is {target!r}; give a Target(...), or None to promise nothing"
    share: object = target.share
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        return f"has share {share!r}; give one above 0 and below 1, such as 0.99"
    return _problem_of_time(target.within, timed=timed, most=most)


def _problem_of_time(within: object, *, timed: bool, most: float | None) -> str | None:
    if within is None:
        return "has no within; give the seconds from due to claimed" if timed else None
    if not is_seconds(within):
        return f"has within {within!r}; give seconds above 0"
    if most is not None and cast("float", within) > most:
        return f"has within {within!r}, but no try takes longer than the timeout, {most!r}; give less, or None"
    return None
