"""Events that wait to be stored, and what can become of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from events import Permanent, Transient
from storage.records import NewEvent, StoredEvent

Result = StoredEvent | BaseException


class NotStored(Transient):
    """The event was not stored: PostgreSQL is away."""


class OutcomeUnknown(Transient):
    """The commit was sent and its answer lost: the event may have been stored."""


class Unstorable(Permanent):
    """PostgreSQL can't hold this event; the message is the SQLSTATE."""


class GivenUp(Exception):  # noqa: N818 - a turn that a flush takes, not a fault
    """Somebody of the batch was told that nothing was stored: it must not be committed as it is."""


@dataclass(slots=True, eq=False)
class Pending:
    """Events that came together and fit into one flush: they wait as one, and each has a result in ``future``.

    ``committing`` tells of each whether a commit with it was sent.
    """

    events: Sequence[NewEvent]
    size: int
    deadline: float
    committing: bytearray
    given_up: bool = False
    future: "asyncio.Future[Sequence[Result]]" = field(init=False)


Row = tuple[Pending, int]
"""One event of those that wait together, by its place."""


def begin_commit(rows: Sequence[Row]) -> None:
    """Note that a commit with these is sent.

    Raises:
        GivenUp: one of them has been told that it is not stored.

    """
    if any(pending.given_up for pending, _ in rows):
        raise GivenUp
    for pending, place in rows:
        pending.committing[place] = True


def own_result(row: Row, found: StoredEvent | None) -> StoredEvent | NotStored:
    """Take what a commit gave for a row: what stands under our own event id was made by us, in whatever try."""
    if found is None:
        return NotStored()
    if found.created:
        return found
    pending, place = row
    return found if found.event_id != pending.events[place].event_id else found._replace(created=True)


def told_of(error: BaseException, *, committing: bool) -> Exception:
    """Say what became of an event that has no row to show.

    Raises:
        BaseException: it is none that ends a request only.

    """
    if isinstance(error, Transient):
        told = OutcomeUnknown() if committing else NotStored()
        told.__cause__ = error
        return told
    if not isinstance(error, Exception):
        raise error
    return error
