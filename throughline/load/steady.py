import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from observability.logs import get_logger
from throughline.client import ApiRefused, ApiUnreachable, Client
from throughline.load.flows import TYPE, Act
from throughline.samples import SAMPLES, read_samples

SOURCE: Final = "throughline-load"
STUMBLES_EVERY: Final = 40
WAITS_EVERY: Final = 40
FAILS_EVERY: Final = 600
"""So seldom that a day of it fills no table with dead runs."""

_FIRST_STUMBLE, _FIRST_WAIT, _FIRST_FAILURE = 10, 20, 30
_WAIT_SECONDS: Final = 3.0
_TELL_EVERY: Final = 60.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """How much to send: ``rate`` events a second, one after the other, and ``most`` of them; None: without end."""

    rate: float
    most: int | None = None


@dataclass(slots=True, kw_only=True)
class Sent:
    """What came of the events so far: taken with a 202, refused, or sent to an API that did not answer."""

    accepted: int = 0
    refused: int = 0
    unreachable: int = 0

    def fields(self) -> Mapping[str, int]:
        """Return it for a log line."""
        return {"accepted": self.accepted, "refused": self.refused, "unreachable": self.unreachable}


def send_steadily(client: Client, load: Steady, *, stop: threading.Event) -> Sent:
    """Send events until ``stop`` is set or there were enough; an API that refuses or is away ends nothing.

    Events that fell due while the API was slow are left out, not made up for.
    """
    sent, told, due = Sent(), time.monotonic(), time.monotonic()
    for event in itertools.islice(events(), load.most):
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        due = max(due + 1.0 / load.rate, time.monotonic())
        _send(client, event, sent)
        if time.monotonic() - told > _TELL_EVERY:
            told = time.monotonic()
            _log.info("events sent", **sent.fields())
    _log.info("load ended", **sent.fields())
    return sent


def events() -> Iterator[Mapping[str, Any]]:
    """Yield bodies for POST /events without end: the samples in turn, now and then a rehearsal of what goes wrong."""
    samples = itertools.cycle([sample.event for sample in read_samples(SAMPLES)])
    for number in itertools.count():
        rehearsal = _rehearsal(number)
        yield {"type": TYPE, "source": SOURCE, "data": rehearsal} if rehearsal else {**next(samples), "source": SOURCE}


def _rehearsal(number: int) -> Mapping[str, object] | None:
    if number % STUMBLES_EVERY == _FIRST_STUMBLE:
        return {"act": Act.STUMBLES}
    if number % WAITS_EVERY == _FIRST_WAIT:
        return {"act": Act.SUCCEEDS, "wait": _WAIT_SECONDS}
    if number % FAILS_EVERY == _FIRST_FAILURE:
        return {"act": Act.FAILS}
    return None


def _send(client: Client, event: Mapping[str, Any], sent: Sent) -> None:
    try:
        client.send(event)
    except ApiRefused as refused:
        sent.refused += 1
        _log.warning("event refused", type=event["type"], reason=str(refused))
    except ApiUnreachable as error:
        sent.unreachable += 1
        _log.warning("the API can't be reached", reason=str(error))
    else:
        sent.accepted += 1
