"""Which names are those of values that nobody may read in a log line, a span or a stored error."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from settings.names import words_of

_SECRET_WORDS: Final = frozenset(
    {
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "authorization", "cookie", "cookies"),
        *("credential", "credentials", "apikey", "csrftoken"),
    }
)
_SECRET_ENDS: Final = ("token", "api_key", "private_key", "access_key", "signing_key", "encryption_key")


@lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Say whether a value under ``key`` looks like a secret: ``access_token`` does, ``input_tokens`` does not."""
    words = [word for word in words_of(key).split("_") if word and not word.isdigit()]
    return not _SECRET_WORDS.isdisjoint(words) or "_".join(words).endswith(_SECRET_ENDS)


class HiddenNames:
    """The names that a setting adds to those. They are the process's, as its log is."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._hint = re.compile("")

    def __bool__(self) -> bool:
        return bool(self._names)

    def set(self, names: Iterable[str]) -> None:
        """Hide what has these names, and no longer what had those before."""
        self._names = tuple(words_of(name) for name in names)
        first = {re.escape(name.split("_")[1]) for name in self._names}
        self._hint = re.compile("|".join(sorted(first)), re.IGNORECASE)

    def hide(self, path: str) -> bool:
        """Say whether a name's words stand in a row in the path of a value, which ends with its key."""
        words = words_of(path) if self._names else ""
        return any(name in words for name in self._names)

    def may_be_in(self, text: str) -> bool:
        """Say whether it is worth looking for them in ``text``."""
        return bool(self._names) and self._hint.search(text) is not None


HIDDEN: Final = HiddenNames()
