"""More load than a flush every ``FLUSH`` seconds takes: the wait stays within what is set, the rest is told at once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import httpx

from api.services import Services
from storage.records import NewEvent, StoredEvent
from tests.support.api import ANY, client_of, make_app

FLUSH = 0.02
SHED_AFTER = 0.3
WITHIN = round(SHED_AFTER / FLUSH)
"""So many flushes of one row end before an event is worth no wait."""
SENDERS = 60


class Rows:
    """Stores one flush every ``FLUSH`` seconds, and notes what waited when it began."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.stored: list[NewEvent] = []
        self.waiting: list[int] = []

    async def __call__(
        self, events: Sequence[NewEvent], *, within: float, before_commit: Callable[[], None]
    ) -> list[StoredEvent]:
        assert within > 0
        self.waiting.append(self._services.commits.waiting)
        await asyncio.sleep(FLUSH)
        before_commit()
        self.stored += events
        return [
            StoredEvent(
                created=True,
                event_id=event.event_id,
                content_hash=event.content_hash,
                received_at=datetime.now(UTC),
                traceparent=None,
                runs=(),
            )
            for event in events
        ]


async def test_what_is_taken_waits_no_longer_than_is_set_and_the_rest_comes_back() -> None:
    app = make_app(
        "postgresql://nobody@127.0.0.1:1/none",
        flush_max_rows=1,
        flushers=1,
        shed_after=SHED_AFTER,
        accept_timeout=60.0,
    )
    services: Services = app.state.services
    rows = Rows(services)
    services.commits._store = rows
    services.commits.start()
    answers: list[httpx.Response] = []
    async with client_of(app) as client:

        async def send() -> None:
            while len(rows.stored) < 3 * SENDERS:
                answers.append(await client.post("/events", json=ANY))
                await asyncio.sleep(FLUSH)

        await asyncio.gather(*(send() for _ in range(SENDERS)))
    await services.commits.close()
    counted = Counter(answer.status_code for answer in answers)
    refused = [answer for answer in answers if answer.status_code == 503]
    assert counted == {202: len(rows.stored), 503: len(refused)}
    assert len(refused) > SENDERS
    assert {answer.json()["type"] for answer in refused} == {"/problems/overloaded"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    # Until a flush has ended nobody knows how long one takes: the first of each sender are taken, and wait.
    steady = rows.waiting[SENDERS:-WITHIN]
    assert max(steady) <= WITHIN
    assert sum(waiting > 0 for waiting in steady) > len(steady) / 2
