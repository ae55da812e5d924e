from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"

DEFAULT_TENANT = "default"
DEFAULT_SOURCE = "throughline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An immutable fact that came in.

    ``(tenant, source, ce_id)`` is unique. ``source``, ``ce_id``, ``type``, ``subject`` and ``time`` are the
    CloudEvents 1.0 attributes ``source``, ``id``, ``type``, ``subject`` and ``time``; ``event_id`` is ours (UUIDv7).
    ``traceparent`` (W3C trace context) is the span in which the event was accepted. Times carry a time zone.
    """

    tenant: str = DEFAULT_TENANT
    event_id: UUID
    source: str = DEFAULT_SOURCE
    ce_id: str
    type: str
    subject: str | None = None
    time: datetime | None = None
    data: JsonValue
    received_at: datetime
    traceparent: str | None = None
