"""PostgreSQL goes away: clear answers in time, and no event lost or doubled."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from migrations import upgrade
from settings import DatabaseSettings
from tests.support.api import ANY, running_api
from tests.support.tcp_proxy import Mode, TcpProxy, tcp_proxy

UNROUTED = {"type": "nobody.knows", "data": 1}
"""Nobody is woken for it: the only commit is its own."""

BOUND = 2.0 + 0.5


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(database_url) as proxy:
        yield proxy


async def timed(request: Awaitable[httpx.Response]) -> httpx.Response:
    began = time.monotonic()
    answer = await request
    assert time.monotonic() - began < BOUND
    return answer


def assert_unavailable(answer: httpx.Response, *names: str) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["type"] in {f"/problems/{name}" for name in names}


async def post_until_accepted(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while (await client.post("/events", json=ANY)).status_code != 202:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.SWALLOW])
@pytest.mark.parametrize("connected", [True, False])
async def test_while_postgresql_is_away_every_answer_is_a_503_in_time_and_then_it_goes_on(
    database_url: str, proxy: TcpProxy, mode: Mode, connected: bool
) -> None:
    async with running_api(proxy.url) as client, running_api(database_url) as beside:
        if connected:
            assert (await client.post("/events", json=ANY)).status_code == 202
        before = len((await beside.get("/events")).json()["items"])
        proxy.switch(mode)
        for answer in await asyncio.gather(*(timed(client.post("/events", json=ANY)) for _ in range(20))):
            assert_unavailable(answer, "unavailable")
        assert_unavailable(await timed(client.post("/events", json=ANY | {"id": "1"})), "unavailable")
        assert (await timed(client.get("/health/ready"))).status_code == 503
        assert (await timed(client.get("/health/live"))).status_code == 200
        assert len((await beside.get("/events")).json()["items"]) == before
        proxy.switch(Mode.PASS)
        await post_until_accepted(client)
        assert len((await beside.get("/events")).json()["items"]) == before + 1


async def test_a_short_absence_is_not_noticed(proxy: TcpProxy) -> None:
    async with running_api(proxy.url) as client:
        assert (await client.post("/events", json=ANY)).status_code == 202
        proxy.switch(Mode.REFUSE)
        request = asyncio.create_task(client.post("/events", json=ANY))
        await asyncio.sleep(0.3)
        proxy.switch(Mode.PASS)
        assert (await request).status_code == 202


async def test_a_commit_whose_answer_was_lost_is_found_again(database_url: str, proxy: TcpProxy) -> None:
    """The connection comes back within the deadline: it is a 202, and stored once."""
    async with running_api(proxy.url) as client, running_api(database_url) as beside:
        assert (await client.post("/events", json=UNROUTED)).status_code == 202
        proxy.switch(Mode.LOSE_COMMIT_ANSWER)
        request = asyncio.create_task(client.post("/events", json=ANY | {"id": "1"}))
        while proxy.mode is not Mode.REFUSE:
            await asyncio.sleep(0.01)
        proxy.switch(Mode.PASS)
        answer = await request
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        items = (await beside.get("/events")).json()["items"]
        assert [item["id"] for item in items].count("1") == 1


@pytest.mark.parametrize("event", [ANY | {"id": "1"}, ANY])
async def test_a_commit_whose_answer_stays_lost_is_a_503_that_says_so(
    database_url: str, proxy: TcpProxy, event: dict[str, object]
) -> None:
    async with running_api(proxy.url) as client, running_api(database_url) as beside:
        assert (await client.post("/events", json=UNROUTED)).status_code == 202
        proxy.switch(Mode.LOSE_COMMIT_ANSWER)
        answer = await timed(client.post("/events", json=event))
        assert_unavailable(answer, "outcome-unknown")
        stored = await beside.get(f"/events/{answer.json()['event_id']}")
        assert stored.status_code == 200
        proxy.switch(Mode.PASS)
        if "id" in event:
            again = await client.post("/events", json=event)
            assert (again.status_code, again.json()["event_id"]) == (200, answer.json()["event_id"])


async def test_reads_while_postgresql_refuses_are_a_503(proxy: TcpProxy) -> None:
    async with running_api(proxy.url) as client:
        assert (await client.get("/events")).status_code == 200
        proxy.switch(Mode.REFUSE)
        assert_unavailable(await timed(client.get("/events")), "unavailable")
        proxy.switch(Mode.PASS)
        assert (await client.get("/events")).status_code == 200


async def test_more_than_may_wait_is_told_to_come_back(database_url: str, proxy: TcpProxy) -> None:
    async with running_api(proxy.url, flush_queue_max=5, flush_max_rows=1, flushers=1) as client:
        proxy.switch(Mode.SWALLOW)
        answers = await asyncio.gather(*(timed(client.post("/events", json=ANY)) for _ in range(20)))
        for answer in answers:
            assert_unavailable(answer, "overloaded", "unavailable")
        assert {answer.json()["type"] for answer in answers} == {"/problems/overloaded", "/problems/unavailable"}
    async with running_api(database_url) as beside:
        assert (await beside.get("/events")).json()["items"] == []


async def test_the_process_stops_in_time_while_postgresql_is_away(proxy: TcpProxy) -> None:
    async with running_api(proxy.url) as client:
        assert (await client.post("/events", json=ANY)).status_code == 202
        reads = await asyncio.gather(*(client.get("/events") for _ in range(4)))
        assert {read.status_code for read in reads} == {200}
        proxy.switch(Mode.SWALLOW)
        request = asyncio.create_task(client.post("/events", json=ANY))
        await asyncio.sleep(0.05)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert_unavailable(await request, "unavailable")


async def test_a_database_that_was_not_migrated_yet_is_a_503_until_it_is(empty_database_url: str) -> None:
    async with running_api(empty_database_url) as client:
        assert_unavailable(await timed(client.post("/events", json=ANY)), "unavailable")
        assert_unavailable(await timed(client.get("/events")), "unavailable")
        await asyncio.to_thread(upgrade, DatabaseSettings(url=SecretStr(empty_database_url)))
        await post_until_accepted(client)


async def test_a_standby_that_takes_no_writes_is_a_503(database_url: str) -> None:
    async with connected(database_url) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with running_api(database_url) as client:
        assert_unavailable(await timed(client.post("/events", json=ANY)), "unavailable")
        assert (await client.get("/events")).json()["items"] == []


async def test_a_database_that_is_not_there_is_a_503(database_url: str) -> None:
    async with running_api(f"{database_url}_nowhere") as client:
        assert_unavailable(await timed(client.post("/events", json=ANY)), "unavailable")
        assert_unavailable(await timed(client.get("/events")), "unavailable")
        assert (await timed(client.get("/health/ready"))).status_code == 503


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
