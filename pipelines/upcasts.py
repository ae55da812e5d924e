import copy
import inspect
from collections.abc import Callable, Mapping
from typing import TypeAlias

from events import JsonValue, Permanent
from pipelines.checks import is_count
from pipelines.errors import InvalidUpcastError

Upcast: TypeAlias = Callable[[JsonValue], JsonValue]
"""Turns the data of an event, as one version of a pipeline takes it, into what the next version takes."""


class UpcastError(Permanent):
    """The data of an event of an older version could not be turned into what the pipeline takes now."""


def check_upcasts(place: str, upcasts: object, *, version: int) -> None:
    """Refuse upcasts that can't be called, or that don't lead from some version without a gap to ``version``.

    Raises:
        InvalidUpcastError: they are such.

    """
    if not isinstance(upcasts, Mapping):
        raise InvalidUpcastError(f"{place}: upcasts is {upcasts!r}; give a dict from a version to a function")
    for number, upcast in upcasts.items():
        if not is_count(number):
            raise InvalidUpcastError(f"{place}: upcasts has {number!r}; its keys are versions, whole numbers from 1 up")
        if not callable(upcast) or inspect.iscoroutinefunction(upcast):
            raise InvalidUpcastError(
                f"{place}: the upcast of version {number} is {upcast!r}; give a plain function that takes the data "
                f"of version {number} and returns that of version {number + 1}"
            )
    _check_versions(place, sorted(upcasts), version)


def _check_versions(place: str, numbers: list[int], version: int) -> None:
    if numbers and numbers[-1] >= version:
        raise InvalidUpcastError(
            f"{place}: there is an upcast of version {numbers[-1]}, but the version is {version}; "
            f"raise version to {numbers[-1] + 1}, or leave the upcast out"
        )
    missing = sorted(set(range(numbers[0], version)).difference(numbers)) if numbers else []
    if missing:
        raise InvalidUpcastError(
            f"{place}: there is an upcast of version {numbers[0]}, but none of {', '.join(map(str, missing))}; "
            f"give one for each version up to {version - 1} (lambda data: data where nothing changed)"
        )


def upcast(data: JsonValue, upcasts: Mapping[int, Upcast]) -> JsonValue:
    """Take a copy of ``data`` through all ``upcasts``, the oldest first.

    Raises:
        UpcastError: one of them raised something.

    """
    made = copy.deepcopy(data) if upcasts else data
    for number in sorted(upcasts):
        try:
            made = upcasts[number](made)
        except Exception as error:
            raise UpcastError(
                f"the upcast from version {number} to {number + 1} failed: {type(error).__name__}: {error}"
            ) from error
    return made
