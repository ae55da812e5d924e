import math
import re
from datetime import timedelta

from pipelines.errors import InvalidNameError, InvalidPriorityError, InvalidTimeoutError, InvalidTypePatternError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_QUEUE = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*(\.\*)?")
_LONGEST_TYPE = 255
_HIGHEST_PRIORITY = 9


def check_name(what: str, name: object) -> None:
    """Refuse a name of a pipeline or node that can't stand in a table, a metric and a URL.

    Raises:
        InvalidNameError: it can't.

    """
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise InvalidNameError(
            f"{what} is {name!r}; use 1 to 63 lower-case letters, digits and underscores, a letter first"
        )


def check_queue(place: str, queue: object) -> None:
    """Refuse a name of a queue that brokers or metrics might trip over.

    Raises:
        InvalidNameError: they might.

    """
    if not (isinstance(queue, str) and _QUEUE.fullmatch(queue)):
        raise InvalidNameError(
            f"{place}: queue is {queue!r}; use 1 to 63 lower-case letters, digits, '_', '-' and '.', a letter first"
        )


def check_types(place: str, types: object) -> None:
    """Refuse event types that are neither exact (``github.issues``) nor prefixes (``github.*``), or given twice.

    Raises:
        InvalidTypePatternError: one is neither, or there is none.

    """
    if not isinstance(types, tuple) or not types:
        raise InvalidTypePatternError(f"{place}: types is {types!r}; give a tuple such as ('github.issues',)")
    for pattern in types:
        if not (isinstance(pattern, str) and len(pattern) <= _LONGEST_TYPE and _TYPE.fullmatch(pattern)):
            raise InvalidTypePatternError(
                f"{place}: {pattern!r} is no event type; give one such as 'github.issues', or a prefix, 'github.*'"
            )
    if len(set(types)) < len(types):
        raise InvalidTypePatternError(f"{place}: types holds the same type twice: {types!r}; leave one out")


def check_timeout(place: str, timeout: object, *, name: str = "timeout") -> None:
    """Refuse a timeout that is not a positive, finite number of seconds.

    Raises:
        InvalidTimeoutError: it is not.

    """
    if not is_seconds(timeout):
        raise InvalidTimeoutError(f"{place}: {name} is {timeout!r}; give seconds above 0")


def check_priority(place: str, priority: object) -> None:
    """Refuse a priority that is not a whole number from 0 to 9.

    Raises:
        InvalidPriorityError: it is not.

    """
    if not (priority == 0 or (is_count(priority) and priority <= _HIGHEST_PRIORITY)):  # type: ignore[operator]
        raise InvalidPriorityError(f"{place}: priority is {priority!r}; give a whole number from 0 to 9, higher first")


def seconds_of(duration: float | timedelta) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def is_seconds(value: object) -> bool:
    """Say whether ``value`` is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def is_count(value: object) -> bool:
    """Say whether ``value`` is a whole number from 1 up."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
