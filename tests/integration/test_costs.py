"""What an event costs, in counts, which are the same on every machine: none may rise above ``benchmarks/costs.toml``.

A count that rose is a mistake or a decision; a decision changes the table in the same commit. So does one that fell.
"""

import asyncio
import json
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from redis import Redis

from api.app import create_app
from benchmarks.flow import three
from benchmarks.payload import event_id, event_parts
from events import RunStatus
from observability import level_watch
from observability.metrics import null_metrics
from observability.tracing import configure_tracing
from observability.tracing.celery_spans import instrument_celery
from pipelines import PipelineRegistry
from settings import TelemetrySettings
from tests.support.counting import CountingProxy, Traffic, counting_proxy
from tests.support.relaying import World
from tests.support.working import until, workshop
from worker import cancelling
from worker.app import create_celery
from worker.identity import Seat
from worker.message import Message
from worker.relay import Relay
from worker.runtime import WorkerRuntime

COSTS: dict[str, dict[str, int]] = tomllib.loads(
    (Path(__file__).parents[2] / "benchmarks" / "costs.toml").read_text(encoding="utf-8")
)
REGISTRY = PipelineRegistry([three])
SIZES = (1, 50)
BYTES_SLACK = 1.05
"""The driver numbers its prepared statements, so that their names are not always equally long."""

PERIODIC = frozenset({"get", "set", "exists", "eval", "evalsha", "info", "client|setinfo", "auth", "select", "ping"})
"""Redis commands that come with time and with connections, not with events."""
PER_MESSAGE = frozenset({"hset", "hdel", "zrem", "setex"})
"""What a worker does for a message, apart from waiting for it, renewing its place among the unacknowledged, and telling
Flower: how often it does those depends on the time, too."""
DATA = json.dumps(json.loads(b"1".join(event_parts("bench.three", source="costs")))["data"])


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing = configure_tracing(TelemetrySettings(), service="test", processors=[SimpleSpanProcessor(exporter)])
    instrument_celery()
    yield exporter
    CeleryInstrumentor().uninstrument()  # type: ignore[no-untyped-call]  # it has no annotations
    tracing.shutdown()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[CountingProxy]:
    async with counting_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
async def world(proxy: CountingProxy, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=proxy.url, redis_url=redis_url, worker={"lease": 600.0}) as world:
        yield world


def costs_of(traffic: Traffic, spans: InMemorySpanExporter, **more: int) -> dict[str, int]:
    return {**asdict(traffic), "spans": len(spans.get_finished_spans()), **more}


def require(stage: str, size: int, found: dict[str, int]) -> None:
    """Hold what was found against the table."""
    allowed = COSTS[f"{stage}-{size}"]
    assert found.keys() == allowed.keys()
    most = {name: count * (BYTES_SLACK if name == "bytes" else 1) for name, count in allowed.items()}
    rose = {name: f"{count} > {allowed[name]}" for name, count in found.items() if count > most[name]}
    assert not rose, f"{stage} of {size} events costs more than the table allows: {rose}; found: {found}"


def bodies(source: str, count: int) -> list[bytes]:
    before, after = event_parts("bench.three", source=source)
    return [before + event_id(number) + after for number in range(count)]


async def post_all(client: httpx.AsyncClient, sent: list[bytes]) -> None:
    headers = {"content-type": "application/json"}
    answers = await asyncio.gather(*(client.post("/events", content=body, headers=headers) for body in sent))
    assert {answer.status_code for answer in answers} == {202}


@pytest.mark.parametrize("size", SIZES)
async def test_what_accepting_events_together_costs(
    size: int, world: World, proxy: CountingProxy, spans: InMemorySpanExporter
) -> None:
    app: FastAPI = create_app(world.settings, registry=REGISTRY, collectors=CollectorRegistry())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api", timeout=30) as client,
    ):
        for number in range(2 * world.settings.api.flushers):
            await post_all(client, bodies(f"warm-{number}", 1))
        spans.clear()
        before = proxy.seen("throughline-api-ingest")
        await post_all(client, bodies("counted", size))
        traffic = proxy.seen("throughline-api-ingest") - before
    require("accept", size, costs_of(traffic, spans))


@pytest.mark.parametrize("size", SIZES)
async def test_what_publishing_due_runs_costs(
    size: int, world: World, proxy: CountingProxy, spans: InMemorySpanExporter
) -> None:
    relay = Relay(world.settings, app=create_celery(world.settings), metrics=null_metrics())
    try:
        for _ in range(3):
            await world.store()
            await relay._publishing.run_once()
            await relay._publishing.keep_sent(everything=True)
            world.redis.delete("default")
            await world.value("WITH gone AS (DELETE FROM events) SELECT 1")
        await world.store(size)
        spans.clear()
        before, commands = proxy.seen("throughline-relay"), commands_of(world.redis)
        await relay._publishing.run_once()
        await relay._publishing.keep_sent(everything=True)
        traffic = proxy.seen("throughline-relay") - before
        sent = commands_of(world.redis) - commands
        messages = len(world.messages())
        assert len(world.sent()) == size
    finally:
        await relay._close()
    require("publish", size, costs_of(traffic, spans, redis_commands=sent, messages=messages))


@pytest.mark.parametrize("size", SIZES)
async def test_what_running_claimed_runs_costs(
    size: int, world: World, proxy: CountingProxy, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "_INTERVAL", 600.0)
    monkeypatch.setattr(level_watch, "LOOK_SECONDS", 600.0)
    looked = threading.Event()
    runtime = WorkerRuntime(
        world.settings, REGISTRY, seat=Seat(name="worker"), metrics=null_metrics(), level_heard=lambda _: looked.set()
    )
    runtime.start()
    try:
        # A connection that only this look has used would have to learn the statements that are counted.
        assert await asyncio.to_thread(looked.wait, 10.0)
        for _ in range(3):
            await run(runtime, await world.store(size, pipeline=three.name, data=DATA))
        run_ids = await world.store(size, pipeline=three.name, data=DATA)
        spans.clear()
        before = proxy.seen("throughline-worker")
        await run(runtime, run_ids)
        traffic = proxy.seen("throughline-worker") - before
    finally:
        runtime.begin_stop()
        assert await asyncio.to_thread(runtime.wait_stopped, 10.0)
        await asyncio.to_thread(runtime.close)
    assert await world.value("SELECT count(*) FROM runs WHERE status <> 'succeeded'") == 0
    require("run", size, costs_of(traffic, spans))


@pytest.mark.parametrize("size", SIZES)
async def test_what_a_message_costs_redis_in_a_worker(
    size: int, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, THROUGHLINE_PIPELINES_MODULES='["benchmarks.flow"]') as shop:
        await shop.worker()

        async def consume(count: int) -> None:
            sent = await shop.store(three.name, count, data=json.loads(DATA), traceparents=[None] * count)
            task_id = shop.publish(three.name, sent)
            await until(lambda: shop.redis.exists(f"celery-task-meta-{task_id}"), what="the result is there")
            await until(lambda: not shop.unacknowledged, what="the message is acknowledged")
            assert (await shop.run(sent[-1])).status is RunStatus.SUCCEEDED

        await consume(1)
        before = commands_of(shop.redis, only=PER_MESSAGE)
        await consume(size)
        found = commands_of(shop.redis, only=PER_MESSAGE) - before
    require("consume", size, {"redis_commands": found})


async def run(runtime: WorkerRuntime, run_ids: list[UUID]) -> None:
    """Let the runtime process one message with these runs; all must be claimed."""
    message = Message(tenant="default", pipeline=three.name, run_ids=tuple(run_ids), queue="default", task_id="task")
    report: dict[str, Any] = await asyncio.to_thread(runtime.process, message)
    assert report["claimed"] == len(run_ids)


def commands_of(client: Redis, *, only: frozenset[str] | None = None) -> int:
    """How many commands Redis has executed: these, or all but those that come with time and connections."""
    stats: dict[str, dict[str, Any]] = client.info("commandstats")  # type: ignore[assignment]  # typed for both faces
    counts = {name.removeprefix("cmdstat_"): int(entry["calls"]) for name, entry in stats.items()}
    return sum(count for name, count in counts.items() if (name in only if only else name not in PERIODIC))
