import re
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+|[^\W\dA-Za-z_]+")
_NAME: Final = re.compile(r"[^\W\d][\w.-]{0,99}")
_OF_EVERY_LINE: Final = (
    *("timestamp", "level", "event", "logger", "service", "pid"),
    *("trace_id", "span_id", "event_id", "run_id"),
)


@lru_cache(maxsize=4096)
def words_of(name: str) -> str:
    """Return the words of a field's name or path: ``_home_town_`` for ``homeTown``, ``HOME_TOWN`` and ``home.town``.

    A name's words stand in a row in another's if what is returned for it stands in what is returned for the other.
    """
    return "_" + "".join(f"{word.lower()}_" for word in _WORD.findall(name))


def hidden_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``names`` if a log can do without the values that they stand for.

    Raises:
        ValueError: one is no name, or is part of the name of a field that makes a line what it is; it tells which.

    """
    for number, name in enumerate(names, 1):
        if not _NAME.fullmatch(name):
            raise ValueError(f"entry {number} is no field's name: give letters, digits, _ and -, or a path with dots")
        taken = next((field for field in _OF_EVERY_LINE if words_of(name) in words_of(field)), None)
        if taken:
            raise ValueError(f"entry {number} would hide {taken}, which every line needs: name it more closely")
    return names
