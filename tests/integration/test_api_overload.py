"""More than can be stored: what is taken is stored in time, the rest is told at once to come back."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from api.services import Services
from storage.records import NewEvent, StoredEvent
from tests.support.api import ANY, client_of, make_app
from tests.support.tcp_proxy import Mode, tcp_proxy

FLUSH = 0.02
SHED_AFTER = 0.3
MOST_WAITING = round(SHED_AFTER / FLUSH)


@dataclass
class SlowDatabase:
    """Stands in a flush's way for ``FLUSH`` seconds: with one row a flush that is the capacity."""

    services: Services
    flushes: int = 0
    most_waiting: int = 0
    took: list[float] = field(default_factory=list)

    async def __call__(
        self, events: Sequence[NewEvent], *, within: float, before_commit: Callable[[], None]
    ) -> list[StoredEvent]:
        self.flushes += 1
        self.most_waiting = max(self.most_waiting, self.services.commits.waiting)
        await asyncio.sleep(FLUSH)
        return await self.services._store(events, within=within, before_commit=before_commit)


async def test_under_more_load_than_can_be_stored_what_is_taken_waits_no_longer_than_set(database_url: str) -> None:
    app = make_app(database_url, flush_max_rows=1, flushers=1, shed_after=SHED_AFTER, accept_timeout=30.0)
    async with app.router.lifespan_context(app), client_of(app) as client:
        services: Services = app.state.services
        database = SlowDatabase(services)
        services.commits._store = database
        answers: list[httpx.Response] = []

        async def send() -> None:
            """Come back after every answer, refused or not: always more than can be stored."""
            while database.flushes < 100:
                began = asyncio.get_running_loop().time()
                answer = await client.post("/events", json=ANY)
                answers.append(answer)
                if answer.status_code == 202:
                    database.took.append(asyncio.get_running_loop().time() - began)
                await asyncio.sleep(FLUSH)

        await asyncio.gather(*(send() for _ in range(60)))
        listed = (await client.get("/events", params={"limit": 200})).json()["items"]
    counted = Counter(answer.status_code for answer in answers)
    assert set(counted) == {202, 503}
    assert counted[202] == len(listed) >= 100
    assert counted[503] > counted[202]
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["type"] == "/problems/overloaded"
            assert int(answer.headers["retry-after"]) >= 1
    # Until a flush has ended nobody knows how long one takes: those of the first moment are taken, and wait.
    assert MOST_WAITING / 4 < database.most_waiting <= 60
    settled = sorted(database.took[60:])
    assert settled[-1] < SHED_AFTER + 1.0


async def test_while_postgresql_stands_still_nobody_else_is_kept_waiting(database_url: str) -> None:
    async with tcp_proxy(database_url) as proxy:
        app = make_app(proxy.url, flushers=1, shed_after=SHED_AFTER)
        async with app.router.lifespan_context(app), client_of(app) as client:
            commits = app.state.services.commits
            assert (await client.post("/events", json=ANY)).status_code == 202
            proxy.switch(Mode.SWALLOW)
            held = asyncio.create_task(client.post("/events", json=ANY))
            async with asyncio.timeout(5):
                while not commits.is_overloaded():
                    await asyncio.sleep(0.01)
            answers = await asyncio.gather(*(client.post("/events", json=ANY) for _ in range(50)))
            assert not held.done()
            assert commits.waiting == 0
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["type"] for answer in answers} == {"/problems/overloaded"}
            assert (await held).status_code == 503
            proxy.switch(Mode.PASS)
            async with asyncio.timeout(10):
                while (await client.post("/events", json=ANY)).status_code != 202:
                    await asyncio.sleep(0.05)
