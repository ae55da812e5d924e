from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipelines import EventSchema, Node, Pipeline, PipelineRegistry, TaskContext, WaitForEvent
from settings import DatabaseSettings
from storage.engine import create_engine
from storage.wake import WakeListener
from tests.support import waiting as do
from tests.support.api import running_api
from tests.support.relaying import until


class Made(EventSchema):
    """An order."""

    order: int


class Paid(EventSchema):
    """That it was paid."""

    order: int
    by: str


class AwaitPayment(WaitForEvent[Paid]):
    """Waits until the order is paid."""

    type = do.TYPE
    match = do.PATH
    timeout = timedelta(days=1)

    def key(self, ctx: TaskContext[Made]) -> str:
        """Return the order."""
        return str(ctx.data.order)


class AwaitSubject(AwaitPayment):
    """Waits for a word on the same."""

    match = "subject"


class Count(Node[int]):
    """Takes payments, too."""

    async def run(self, ctx: TaskContext[Paid]) -> int:
        """Return the order."""
        return ctx.data.order


ORDERS = Pipeline(
    name="orders", types=("order.made",), schema=Made, start=AwaitPayment, edges={AwaitPayment: AwaitSubject}
)
COUNTING = Pipeline(name="counting", types=(do.TYPE,), schema=Paid, start=Count)
PAID: dict[str, Any] = {"type": do.TYPE, "source": "/shop", "data": {"order": 7, "by": "card"}}


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings(url=SecretStr(database_url)), application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running_api(database_url, registry=PipelineRegistry([ORDERS])) as client:
        yield client


async def keys(engine: AsyncEngine) -> set[tuple[UUID, str, str]]:
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT event_id, path, key FROM event_keys"))
        return {(row.event_id, row.path, row.key) for row in rows}


async def listed(api: httpx.AsyncClient, status: str) -> list[str]:
    page = (await api.get("/events", params={"status": status})).json()
    return [item["event_id"] for item in page["items"]]


def expected(event_id: str, pairs: Iterable[tuple[str, str]]) -> set[tuple[UUID, str, str]]:
    return {(UUID(event_id), path, key) for path, key in pairs}


async def test_an_event_that_runs_wait_for_is_taken_in_with_its_keys_and_is_not_unrouted(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    sent = PAID | {"id": "p-1", "subject": "order 7"}
    answer = await api.post("/events", json=sent)
    body = answer.json()
    assert (answer.status_code, body["status"], body["runs"]) == (202, "awaited", [])
    again = await api.post("/events", json=sent)
    assert (again.status_code, again.json()["status"], again.json()["event_id"]) == (200, "awaited", body["event_id"])
    assert await keys(engine) == expected(body["event_id"], [(do.PATH, "7"), ("subject", "order 7")])
    assert (await listed(api, "awaited"), await listed(api, "unrouted")) == ([body["event_id"]], [])
    assert (await api.get(f"/events/{body['event_id']}")).json()["status"] == "awaited"
    metrics = (await api.get("/metrics")).text
    assert 'outcome="awaited"' in metrics


async def test_one_that_its_own_pipeline_takes_as_well_has_keys_and_a_run(
    database_url: str, engine: AsyncEngine
) -> None:
    async with running_api(database_url, registry=PipelineRegistry([ORDERS, COUNTING])) as api:
        body = (await api.post("/events", json=PAID)).json()
    assert (body["status"], [run["pipeline"] for run in body["runs"]]) == ("queued", ["counting"])
    assert await keys(engine) == expected(body["event_id"], [(do.PATH, "7")])


async def test_data_that_the_wait_could_not_read_is_refused_at_the_door(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    answer = await api.post("/events", json=PAID | {"data": {"order": 7}})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["data.by"]
    assert await keys(engine) == set()


async def test_of_an_array_those_have_keys_that_runs_wait_for(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    sent = [
        PAID | {"id": "1"},
        {"type": "order.made", "data": {"order": 7}},
        {"type": "x", "data": 1},
        PAID | {"id": "1"},
    ]
    items = (await api.post("/events", json=sent)).json()["items"]
    assert [item["event"]["status"] for item in items] == ["awaited", "queued", "unrouted", "awaited"]
    assert await keys(engine) == expected(items[0]["event"]["event_id"], [(do.PATH, "7")])


async def test_the_relays_are_waked_for_it(api: httpx.AsyncClient, database_url: str) -> None:
    woken: list[None] = []
    listener = WakeListener(
        DatabaseSettings(url=SecretStr(database_url)), application="test", on_wake=lambda: woken.append(None)
    )
    await listener.ensure()
    seen = len(woken)
    assert (await api.post("/events", json=PAID)).status_code == 202
    await until(lambda: len(woken) > seen)
    await listener.close()


async def test_a_run_tells_what_it_waits_for_and_the_event_whose_wait_it_ended(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    made = (await api.post("/events", json={"type": "order.made", "data": {"order": 7}})).json()
    run_id = made["runs"][0]["run_id"]
    (started,) = await do.claim(engine, [UUID(run_id)])
    await do.finish(engine, do.waiting(started, node="await_payment", order="7"))
    run = (await api.get(f"/runs/{run_id}")).json()
    (wait,) = run["waits"]
    assert (run["status"], run["reason"], wait["until"]) == ("queued", "waiting", run["available_at"])
    told = (wait["node"], wait["type"], wait["path"], wait["key"], wait["ended_at"], wait["event_id"])
    assert told == ("await_payment", do.TYPE, do.PATH, "7", None, None)
    paid = (await api.post("/events", json=PAID)).json()
    assert len(await do.look(engine)) == 1
    (wait,) = (await api.get(f"/events/{made['event_id']}")).json()["runs"][0]["waits"]
    assert wait["event_id"] == paid["event_id"]
    (ended,) = (await api.get(f"/events/{paid['event_id']}")).json()["ended_waits"]
    assert (ended["run_id"], ended["node"]) == (run_id, "await_payment")
