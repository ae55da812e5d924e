from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel

from events import LimitKey
from pipelines.checks import check_name, is_count, is_seconds
from pipelines.errors import InvalidLimitError
from pipelines.paths import Attributes, check_path, value_at

NO_KEY = ""
"""The key of the runs whose event has no value where ``by`` points: they share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most ``starts`` of runs in any ``per`` seconds."""

    starts: int
    per: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many runs may be under way at once, or begin in a time, for each value of ``by``; across all workers.

    ``name`` is the limit's own: pipelines and nodes that name the same one share it. ``by`` is a path into the event,
    such as ``data.customer.id`` or ``source``; None makes one limit for all.
    """

    name: str
    by: str | None = None
    concurrency: int | None = None
    rate: Rate | None = None

    def key_of(self, event: Attributes) -> LimitKey:
        """Say what an event's runs count against."""
        found = NO_KEY if self.by is None else value_at(self.by, event)
        return LimitKey(
            name=self.name,
            key=found or NO_KEY,
            concurrency=self.concurrency,
            rate=self.rate.starts if self.rate else None,
            per=self.rate.per if self.rate else None,
        )


def check_limits(place: str, limits: object, *, schema: type[BaseModel]) -> None:
    """Refuse limits that limit nothing, contradict one another, or whose key the schema doesn't have.

    Raises:
        InvalidLimitError: one is such. ``InvalidNameError`` and ``InvalidPathError`` likewise.

    """
    if not isinstance(limits, tuple) or not all(isinstance(limit, Limit) for limit in limits):
        raise InvalidLimitError(f"{place}: limits is {limits!r}; give a tuple of Limit(...)")
    seen: set[str] = set()
    for limit in limits:
        check_name(f"{place}: the name of a limit", limit.name)
        where = f"{place}: limit {limit.name!r}"
        if limit.name in seen:
            raise InvalidLimitError(f"{where} stands there twice; leave one out, or rename it")
        seen.add(limit.name)
        if problem := _problem(limit):
            raise InvalidLimitError(f"{where}: {problem}")
        if limit.by is not None:
            check_path(f"{where}: by", limit.by, schema=schema)


def check_agreement(declared: Iterable[tuple[tuple[str, int], str, Limit]]) -> None:
    """Refuse limits of one name that allow different numbers: they count the same permits.

    ``declared`` are limits with their pipeline's name and version and the place that declares them. Versions of one
    pipeline may differ.

    Raises:
        InvalidLimitError: two do.

    """
    first: dict[str, tuple[tuple[str, int], str, Limit]] = {}
    for owner, place, limit in declared:
        pipeline, other, known = first.setdefault(limit.name, (owner, place, limit))
        is_other_version = pipeline[0] == owner[0] and pipeline[1] != owner[1]
        if not is_other_version and (known.concurrency, known.rate) != (limit.concurrency, limit.rate):
            raise InvalidLimitError(
                f"{place}: limit {limit.name!r} allows other numbers than that of {other}, which counts the same "
                "permits; declare both alike, or rename one"
            )


def _problem(limit: Limit) -> str | None:
    if limit.concurrency is None and limit.rate is None:
        return "it limits nothing; give concurrency=..., rate=Rate(...) or both"
    if limit.concurrency is not None and not is_count(limit.concurrency):
        return f"concurrency is {limit.concurrency!r}; give a whole number from 1 up"
    if limit.rate is None:
        return None
    rate: object = limit.rate
    if not (isinstance(rate, Rate) and is_count(rate.starts) and is_seconds(rate.per)):
        return f"rate is {rate!r}; give Rate(starts=..., per=...), a whole number from 1 up and seconds above 0"
    return None
