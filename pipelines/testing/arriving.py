from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from events import AwaitedEvent, Event, Permanent, Suspended
from pipelines.paths import Attributes, value_at
from pipelines.testing.clock import seconds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An event that comes in while a run is under way, ``after`` seconds from the run's beginning."""

    event: Event
    after: float = 0.0


class NotRun(Permanent):
    """What would have come of it is not known."""


class Arrivals(Protocol):
    """What comes in while a run waits."""

    def find(self, suspended: Suspended, *, until: float) -> Arrival | None:
        """Return what ends a wait, or came before it began, if it comes in time; ``until``: seconds, as ``after``.

        Raises:
            NotRun: nobody knows, which ends the run.

        """


class Arriving:
    """The events that a test lets come in, each at once or, as ``(after, event)``, later on."""

    def __init__(self, given: Iterable[Event | tuple[float | timedelta, Event]]) -> None:
        arrivals = [
            Arrival(event=one) if isinstance(one, Event) else Arrival(after=seconds_of(one[0]), event=one[1])
            for one in given
        ]
        self._arrivals = sorted(arrivals, key=lambda arrival: arrival.after)
        self._taken: list[Arrival] = []

    def find(self, suspended: Suspended, *, until: float) -> Arrival | None:
        """See ``Arrivals.find``: of several that match, the first that comes."""
        awaited = suspended.awaited
        for arrival in self._arrivals:
            if awaited is not None and arrival.after <= until and matches(awaited, arrival.event):
                self._taken.append(arrival)
                return arrival
        return None

    @property
    def left(self) -> tuple[Event, ...]:
        """Those that ended no wait."""
        return tuple(arrival.event for arrival in self._arrivals if arrival not in self._taken)


def matches(awaited: AwaitedEvent, event: Event) -> bool:
    """Say whether an event is what a run waits for."""
    return awaited.type == event.type and value_at(awaited.path, attributes_of(event)) == awaited.key


def attributes_of(event: Event) -> Attributes:
    """Return what paths lead into."""
    return Attributes(type=event.type, source=event.source, subject=event.subject, data=event.data)
