from datetime import UTC, datetime
from pathlib import Path

from api.incoming import IncomingEvent, InvalidEventError, event_of
from events import DEFAULT_SOURCE, Event, Permanent, new_id
from throughline.samples import read_samples


class UnusableEvent(Permanent):
    """A file doesn't hold the one event that is wanted; the message names the field."""


def read_event(path: Path, *, kind: str | None = None) -> Event:
    """Return the event in a file, or on standard input (``-``), as if it had been posted now.

    ``kind`` is the type where the file holds the data alone.

    Raises:
        SampleError: there is none.
        UnusableEvent: the API would refuse it.

    """
    sample = next(read_samples(path, kind=kind))
    try:
        incoming = event_of(dict(sample.event), suspect=True)
    except InvalidEventError as error:
        said = "; ".join(f"{field} {message}" for field, message in error.errors)
        raise UnusableEvent(f"{sample.name}: {said}") from None
    return _event(incoming)


def _event(incoming: IncomingEvent) -> Event:
    event_id = new_id()
    return Event(
        event_id=event_id,
        source=incoming.source or DEFAULT_SOURCE,
        ce_id=incoming.id or str(event_id),
        type=incoming.type,
        subject=incoming.subject,
        time=incoming.time,
        data=incoming.data,
        received_at=datetime.now(UTC),
    )
