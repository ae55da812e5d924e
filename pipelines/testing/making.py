import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from events import DEFAULT_SOURCE, DEFAULT_TENANT, Event, JsonValue, new_id
from pipelines.testing.clock import START


def event(  # noqa: PLR0913 - an event has this many attributes
    type: str,  # noqa: A002 - CloudEvents' own words
    data: object = None,
    *,
    id: str | None = None,  # noqa: A002 - see type
    source: str = DEFAULT_SOURCE,
    subject: str | None = None,
    time: datetime | None = None,
    received_at: datetime = START,
    tenant: str = DEFAULT_TENANT,
) -> Event:
    """Make an event as if it had come in; ``data`` is JSON, or a Pydantic model.

    Raises:
        ValueError: ``data`` is no JSON.

    """
    event_id = new_id()
    return Event(
        tenant=tenant,
        event_id=event_id,
        source=source,
        ce_id=id or str(event_id),
        type=type,
        subject=subject,
        time=time,
        data=json_of(data),
        received_at=received_at,
    )


def json_of(value: object) -> JsonValue:
    """Return ``value`` as it comes back from JSON.

    Raises:
        ValueError: it is none.

    """
    plain: Any = value.model_dump(mode="json", round_trip=True) if isinstance(value, BaseModel) else value
    try:
        found: JsonValue = json.loads(json.dumps(plain, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}") from None
    return found
