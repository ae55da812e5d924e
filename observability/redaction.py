"""What must not stand in a log line or a span, taken out; and whatever is left made fit for JSON."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

REDACTED: Final = "[redacted]"

_SECRET_WORDS: Final = frozenset(
    {
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "authorization", "cookie", "cookies"),
        *("credential", "credentials", "apikey", "csrftoken"),
    }
)
_SECRET_ENDS: Final = ("token", "api_key", "private_key", "access_key", "signing_key", "encryption_key")
_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_SECRETS_IN_TEXT: Final = (
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@'\"]*):[^\s/'\"]+@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (
        re.compile(
            r"(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|authorization|cookie)['\"]?\s*[=:]\s*)"
            r"(?!\[redacted\]|(?:bearer|basic)\s)(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\"})\]]+)"
        ),
        rf"\1{REDACTED}",
    ),
)
_PUNCTUATION: Final = re.compile(r"[\s:=]")
_HINT: Final = re.compile(r"(?i)://|pass|secret|token|key|auth|cookie|bearer|basic")
_LONGEST: Final = 16_384
_DEEPEST: Final = 6
_MOST: Final = 200
_INT64: Final = 2**63


@lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Say whether a value under ``key`` looks like a secret: ``access_token`` does, ``input_tokens`` does not."""
    words = [word.lower() for word in _WORD.findall(key)]
    return not _SECRET_WORDS.isdisjoint(words) or "_".join(words).endswith(_SECRET_ENDS)


def redact_text(text: str) -> str:
    """Take credentials out of ``text``: in URLs, behind ``password=`` and its like, in authorization headers."""
    if _PUNCTUATION.search(text) and _HINT.search(text):
        for pattern, replacement in _SECRETS_IN_TEXT:
            text = pattern.sub(replacement, text)
    return text


def clean(value: object, depth: int = 0) -> object:
    """Return ``value`` without secrets and as JSON can hold it. Never raises; what is too deep or too much is cut."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, str):
        return _text(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return _mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(item, depth + 1) for item, _ in zip(value, range(_MOST), strict=False)]
    return _text(_repr(value))


def _mapping(value: Mapping[object, object], depth: int) -> dict[str, object]:
    cleaned: dict[str, object] = {}
    for (key, item), _ in zip(value.items(), range(_MOST), strict=False):
        name = key if isinstance(key, str) else _repr(key)
        hidden = item is not None and not isinstance(item, bool) and is_secret(name)
        cleaned[_text(name)] = REDACTED if hidden else clean(item, depth + 1)
    return cleaned


def _text(text: str) -> str:
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} … {len(text) - _LONGEST} characters … {text[-_LONGEST // 2 :]}"
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return redact_text(text)


def _repr(value: object) -> str:
    try:
        return str(value) if type(value).__str__ is not object.__str__ else repr(value)
    except Exception:  # noqa: BLE001 - a value that can't show itself must not break what tells of it
        return f"<{type(value).__name__} that can't be shown>"
