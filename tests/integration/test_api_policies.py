"""What pipelines declare of their runs, from the request to the row, and back to who asks about a run."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.app import create_app
from events import LimitKey
from pipelines import EventSchema, Limit, Pipeline, PipelineRegistry, Rate
from storage.engine import transaction
from tests.support.admitting import Gate
from tests.support.api import Look, client_of
from tests.support.relaying import World
from throughline.timeline import show_run


class Order(EventSchema):
    """The data of ``shop.order``."""

    customer: int


VENDOR = Limit(name="vendor", by="data.customer", concurrency=1, rate=Rate(starts=5, per=60.0))
REGISTRY = PipelineRegistry(
    [
        Pipeline(
            name="guarded",
            types=("shop.order",),
            schema=Order,
            start=Look,
            limits=(VENDOR,),
            priority=4,
            ttl=3600.0,
            unique="subject",
        ),
        Pipeline(name="free", types=("shop.*",), schema=EventSchema, start=Look),
    ]
)


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


@pytest.fixture
async def gate(world: World) -> AsyncIterator[Gate]:
    gate = Gate(world)
    yield gate
    await gate.close()
    await gate.check()


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(world.settings, registry=REGISTRY, collectors=CollectorRegistry())
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def sent(api: httpx.AsyncClient, **more: Any) -> dict[str, str]:
    """Send an order; return the ids of its runs by pipeline."""
    answer = await api.post("/events", json={"type": "shop.order", "data": {"customer": 7}} | more)
    assert answer.status_code == 202, answer.text
    return {run["pipeline"]: run["run_id"] for run in answer.json()["runs"]}


async def row_of(connection: AsyncConnection, run_id: str) -> Any:
    found = await connection.execute(
        text(
            "SELECT priority, unique_key, lane IS NOT NULL AS limited, publish_at = 'infinity' AS held_back, "
            "extract(epoch FROM expires_at - created_at)::float8 AS ttl FROM runs WHERE run_id = :run_id"
        ),
        {"run_id": run_id},
    )
    return tuple(found.one())


async def test_a_run_is_made_with_what_its_pipeline_declares_and_one_beside_it_without(
    world: World, api: httpx.AsyncClient
) -> None:
    ids = await sent(api, subject="s")
    async with transaction(world.engine) as connection:
        assert await row_of(connection, ids["guarded"]) == (4, "s", True, True, 3600.0)
        assert await row_of(connection, ids["free"]) == (0, None, False, False, None)


async def test_a_run_that_waits_says_for_which_limit_and_key(
    api: httpx.AsyncClient, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (await sent(api))["guarded"], (await sent(api))["guarded"]
    await gate.once()
    ahead, behind = [(await api.get(f"/runs/{run_id}")).json() for run_id in (first, second)]
    declared = {"name": "vendor", "key": "7", "concurrency": 1, "rate": 5, "per": 60.0}
    assert (ahead["limits"], ahead["waits_for"], behind["limits"]) == ([declared], [], [declared])
    assert ahead["admitted_at"] is not None
    assert behind["waits_for"] == [declared | {"held": 1, "started": 1, "full": True}]
    assert (behind["status"], behind["priority"], behind["admitted_at"]) == ("queued", 4, None)
    show_run(behind)
    assert "waits for limit vendor of 7: 1 of 1 at work, 1 of 5 started in 60 s" in capsys.readouterr().out


async def test_a_replay_goes_by_what_is_declared_with_time_to_begin_counted_anew(
    world: World, api: httpx.AsyncClient, gate: Gate
) -> None:
    run_id = (await sent(api, subject="s"))["guarded"]
    await api.post(f"/runs/{run_id}/cancel")
    async with transaction(world.engine) as connection:
        await connection.execute(
            text("UPDATE runs SET limits = NULL, lane = NULL, expires_at = NULL, unique_key = NULL")
        )
    made = (await api.post(f"/runs/{run_id}/replay")).json()["run_id"]
    async with transaction(world.engine) as connection:
        assert await row_of(connection, made) == (4, "s", True, True, 3600.0)
    await gate.once()
    [claimed] = await gate.claim([UUID(made)])
    assert claimed.limits == (LimitKey(name="vendor", key="7", concurrency=1, rate=5, per=60.0),)


async def test_pipelines_are_described_with_what_they_declare(api: httpx.AsyncClient) -> None:
    guarded = next(item for item in (await api.get("/pipelines")).json()["items"] if item["name"] == "guarded")
    assert guarded["limits"] == [{"name": "vendor", "by": "data.customer", "concurrency": 1, "starts": 5, "per": 60.0}]
    assert (guarded["priority"], guarded["ttl"], guarded["unique"]) == (4, 3600.0, "subject")
