"""What must not stand in a log line or a span, taken out; and whatever is left made fit for JSON."""

import re
from collections.abc import Mapping
from typing import Final

from observability.secret_names import HIDDEN, is_secret

REDACTED: Final = "[redacted]"

_SECRET: Final = r"(?:password|passwd|passphrase|secret|token|api[_-]?key|authorization|cookie)"  # noqa: S105 - names
_QUOTED: Final = r"(?:'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z))"
"""Also where the text was cut off inside the quotes."""
_SECRETS_IN_TEXT: Final = (
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s/:@'\"]*):[^\s/'\"]+@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (
        re.compile(
            rf"(?i)({_SECRET}(?:[_-]?\d+)?\\*['\"]?\s*[=:]\s*)"
            rf"(?!\[redacted\]|(?:bearer|basic)\s)(?:{_QUOTED}|\\+\"[^\"]*\"|[^\s,;&'\"}})\]]+)"
        ),
        rf"\1{REDACTED}",
    ),
    # A header as ASGI servers and HTTP clients have it.
    (re.compile(rf"(?i)(\(b['\"][\w-]*{_SECRET}['\"],\s*)b{_QUOTED}"), rf"\1{REDACTED}"),
)
_PUNCTUATION: Final = re.compile(r"[\s:=]")
_HINT: Final = re.compile(r"(?i)://|pass|secret|token|key|auth|cookie|bearer|basic")
# A name is looked for where its letters begin, and only there: at each of them, a long word took seconds.
_NAME_IN_TEXT: Final = re.compile(r"(?<![\w.-])[\d.-]*+([^\W\d][\w.-]*+)(?:\\*+['\"]?\s*+[=:]\s*|['\"],\s*(?=b['\"]))")
_INVALID: Final = re.compile(r"(?m)^([^\s\[]\S*)\n(  .*\binput_value=)(.*)(?=, input_type=)")
_LONGEST: Final = 16_384
_DEEPEST: Final = 6
_MOST: Final = 200
_INT64: Final = 2**63


def redact_text(text: str) -> str:
    """Take credentials out of ``text``: in URLs, behind ``password=`` and its like, in authorization headers.

    So is what stands behind a name that the settings hide, and what Pydantic quotes of a field that has such a name.
    """
    if not _PUNCTUATION.search(text):
        return text
    if _HINT.search(text):
        for pattern, replacement in _SECRETS_IN_TEXT:
            text = pattern.sub(replacement, text)
    if ", input_type=" in text:
        text = _INVALID.sub(_without_input, text)
    return _without_named(text) if HIDDEN.may_be_in(text) else text


def clean(value: object, depth: int = 0, path: str = "") -> object:
    """Return ``value`` without secrets and as JSON can hold it. Never raises; what is too deep or too much is cut.

    ``path``: the names under which it is found, with dots between them.
    """
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, str):
        return _text(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return _mapping(value, depth, path)
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(item, depth + 1, path) for item, _ in zip(value, range(_MOST), strict=False)]
    return _text(_repr(value))


def without_hidden(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return ``fields`` without the values of names that the settings hide; nothing else is looked at."""
    if not HIDDEN:
        return fields
    return {name: REDACTED if HIDDEN.hide(name) else value for name, value in fields.items()}


def _mapping(value: Mapping[object, object], depth: int, path: str) -> dict[str, object]:
    cleaned: dict[str, object] = {}
    hiding, inner = bool(HIDDEN), ""
    for (key, item), _ in zip(value.items(), range(_MOST), strict=False):
        name = key if isinstance(key, str) else _repr(key)
        hidden = item is not None and not isinstance(item, bool) and is_secret(name)
        if hiding:
            inner = f"{path}.{name}"
            hidden = hidden or (item is not None and HIDDEN.hide(inner))
        cleaned[_text(name)] = REDACTED if hidden else clean(item, depth + 1, inner)
    return cleaned


def _text(text: str) -> str:
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} … {len(text) - _LONGEST} characters … {text[-_LONGEST // 2 :]}"
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return redact_text(text)


def _without_input(found: re.Match[str]) -> str:
    field, before, value = found.groups()
    names = [name for name in field.split(".") if not name.isdigit()]  # places in lists are no names
    hidden = HIDDEN.hide(".".join(names)) or any(map(is_secret, names))
    return f"{field}\n{before}{REDACTED if hidden else value}"


def _without_named(text: str) -> str:
    parts: list[str] = []
    kept_to = 0
    for found in _NAME_IN_TEXT.finditer(text):
        start = found.end()
        if start < kept_to or not HIDDEN.hide(found[1]):
            continue
        parts += [text[kept_to:start], REDACTED]
        kept_to = _end_of_value(text, start)
    return "".join([*parts, text[kept_to:]])


def _end_of_value(text: str, start: int) -> int:
    """Return where the value at ``start`` ends: with its quotes and brackets, or before a space, comma or the like."""
    if escaped := re.compile(r"\\+['\"]").match(text, start):
        end = text.find(escaped[0], escaped.end())
        return len(text) if end < 0 else end + len(escaped[0])
    depth, quote = 0, ""
    at = start + text.startswith(("b'", 'b"'), start)
    first = at
    while at < len(text):
        letter = text[at]
        if quote:
            at += letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (at == first or depth):
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if depth < 0 or not (quote or depth or letter not in " \t\r\n,;&"):
            break
        at += 1
    return min(at, len(text))


def _repr(value: object) -> str:
    try:
        return str(value) if type(value).__str__ is not object.__str__ else repr(value)
    except Exception:  # noqa: BLE001 - a value that can't show itself must not break what tells of it
        return f"<{type(value).__name__} that can't be shown>"
