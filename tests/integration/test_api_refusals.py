"""Junk gets a clear answer and leaves nothing behind."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from api.pending import Unstorable
from api.services import Services
from storage.records import StoredEvent
from tests.support.api import ANY, ISSUE, client_of, make_app, new_event, running_api

JSON = {"Content-Type": "application/json"}


async def assert_nothing_stored(client: httpx.AsyncClient) -> None:
    assert (await client.get("/events")).json()["items"] == []


def junk() -> Iterator[tuple[bytes, int]]:
    source = random.Random(7)
    yield from ((source.randbytes(source.randrange(300)), 400) for _ in range(50))
    yield b"", 400
    yield b"[" * 100_000, 400
    yield b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400
    yield b"x" * (10 * 1024 * 1024), 413
    yield b'{"type": "a", "data": NaN}', 400
    yield b'{"type": "a", "data": "\\ud800"}', 400
    yield b'{"type": "a", "data": "\xed\xa0\x80"}', 400
    yield b'{"type": "a", "data": "\\u0000"}', 422
    yield b'{"type": "a", "data": {"\\u0000": 1}}', 422
    yield b'{"type": "a", "data": 1e400}', 422
    yield b'{"type": "a", "data": -' + b"9" * 1000 + b".5}", 422
    yield b'{"type": "a", "data": ' + b"9" * 10_000 + b"}", 400
    yield b'{"type": "a\\u0000", "data": 1}', 422
    yield b'{"type": ["a"], "data": 1}', 422
    yield b'{"data": 1}', 422
    yield b'{"type": "a"}', 422
    yield b"[]", 422
    yield b"null", 422


async def test_junk_is_refused_and_stored_nowhere(database_url: str) -> None:
    async with running_api(database_url) as client:
        for content, status in junk():
            answer = await client.post("/events", content=content, headers=JSON)
            assert answer.status_code == status, content[:80]
            assert answer.headers["content-type"] == "application/problem+json"
        await assert_nothing_stored(client)


async def test_what_is_large_but_sound_is_stored(database_url: str) -> None:
    """The edges that PostgreSQL's jsonb can hold."""
    data = {"deep": json.loads("[" * 190 + "]" * 190), "long": "x" * 900_000, "digits": 10**4299, "float": 0.1}
    body = json.dumps({"type": "a", "data": data}).encode()
    async with running_api(database_url) as client:
        answer = await client.post("/events", content=body, headers=JSON)
        assert answer.status_code == 202, answer.text
        story = await client.get(answer.headers["location"])
        assert story.json()["data"] == data


async def test_the_longest_attributes_are_stored(database_url: str) -> None:
    """Also where their bytes are many: they stand in indexes, whose rows PostgreSQL bounds."""
    source = random.Random(7)
    wide = [chr(source.randrange(0x10000, 0x1F000)) for _ in range(1024)]
    event = {
        "type": "".join(wide[:255]),
        "id": "".join(wide[-255:]),
        "source": "".join(source.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=512)),
        "subject": "".join(wide),
        "data": 1,
    }
    async with running_api(database_url) as client:
        answer = await client.post("/events", json=event)
        assert answer.status_code == 202, answer.text


@asynccontextmanager
async def running_services(database_url: str) -> AsyncIterator[Services]:
    app = make_app(database_url)
    async with app.router.lifespan_context(app):
        yield app.state.services


@pytest.mark.parametrize("bad", ['"\\u0000"', "1e400000", "[" * 100_000 + "]" * 100_000, '"\\ud800"', "{"])
async def test_one_bad_row_in_a_crowd_fails_alone(database_url: str, bad: str) -> None:
    """Should one ever pass the API's own checks."""
    async with running_services(database_url) as services:
        crowd = [new_event("{}") for _ in range(60)]
        crowd[17] = new_event(bad)
        results = await asyncio.gather(*(services.commits.store(event) for event in crowd), return_exceptions=True)
    assert isinstance(results.pop(17), Unstorable)
    assert all(isinstance(result, StoredEvent) and result.created for result in results)


async def test_a_row_that_the_driver_refuses_fails_alone(database_url: str) -> None:
    async with running_services(database_url) as services:
        crowd = [new_event("{}") for _ in range(20)]
        crowd[3] = new_event('"\ud800"')
        crowd[4] = new_event("{}")._replace(subject="a\0b")
        results = await asyncio.gather(*(services.commits.store(event) for event in crowd), return_exceptions=True)
    assert [isinstance(result, StoredEvent) for result in results] == [index not in {3, 4} for index in range(20)]


async def test_good_events_pass_while_junk_pours_in(database_url: str) -> None:
    app = make_app(database_url)
    async with app.router.lifespan_context(app), client_of(app) as client:
        good = [client.post("/events", json=event | {"id": str(n)}) for n in range(30) for event in (ISSUE,)]
        bad = [client.post("/events", content=content, headers=JSON) for content, _ in list(junk())[:60]]
        answers = await asyncio.gather(*good, *bad)
        assert {answer.status_code for answer in answers[:30]} == {202}
        assert all(400 <= answer.status_code < 500 for answer in answers[30:])
        assert len((await client.get("/events", params={"limit": 200})).json()["items"]) == 30
        assert (await client.post("/events", json=ANY)).status_code == 202
