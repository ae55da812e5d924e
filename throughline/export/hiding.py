from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from events import Event, JsonValue
from observability.redaction import REDACTED, redact_text
from observability.secret_names import HIDDEN, is_secret


class Hiding:
    """Takes out of JSON what must stand in no log line either, and keeps its shape; ``left_out`` is where it was."""

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def hide(self, value: JsonValue, path: str, names: str = "") -> JsonValue:
        """Return ``value``, found at ``path``, with something of the same type in the place of each secret.

        ``names`` is the path without places in lists, which are no names.
        """
        if isinstance(value, Mapping):
            return {key: self._member(item, key, path=path, names=names) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item, f"{path}.{place}", names) for place, item in enumerate(value)]
        if isinstance(value, str):
            text = redact_text(value)
            if text != value:
                self.left_out.append(path)
            return text
        return value

    def _member(self, item: JsonValue, key: str, *, path: str, names: str) -> JsonValue:
        path, names = f"{path}.{key}", f"{names}.{key}"
        if item is None or isinstance(item, bool) or not (is_secret(key) or HIDDEN.hide(names)):
            return self.hide(item, path, names)
        self.left_out.append(path)
        return _blank(item)


def without_secrets(event: Event, hiding: Hiding, *, path: str) -> Event:
    """Return the event, found at ``path``, with nothing in its attributes that ``hiding`` takes out; data apart."""
    shown: dict[str, Any] = {
        name: hiding.hide(getattr(event, name), f"{path}.{name}") for name in ("ce_id", "source", "subject")
    }
    return replace(event, **shown)


def _blank(value: JsonValue) -> JsonValue:
    if isinstance(value, Mapping):
        return {key: _blank(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_blank(item) for item in value]
    if isinstance(value, str):
        return REDACTED
    return value if value is None or isinstance(value, bool) else 0
