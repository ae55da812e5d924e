"""What an event writes into the logs of API, relay and worker, held against the table in ``docs/logs.md``."""

import asyncio
import io
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from api.app import create_app
from events import Permanent, Transient
from observability.logs import configure_logging
from observability.metrics import null_metrics
from observability.secret_names import HIDDEN
from observability.tracing import configure_tracing
from pipelines import EventSchema, Node, Pipeline, PipelineRegistry, RetryPolicy, TaskContext, WaitForEvent
from settings import LogSettings, TelemetrySettings
from tests.support.log_docs import described_lines
from tests.support.relaying import World
from worker.app import create_celery
from worker.identity import Seat
from worker.message import Message
from worker.relay import Relay
from worker.runtime import WorkerRuntime

_foreign = logging.getLogger("acme.client")


class Asked(EventSchema):
    """What the events of these tests hold."""

    end: str = "well"


class Done(BaseModel):
    """What the nodes give back."""


class CallOut(Node[Done]):
    """Calls a library that logs, on the event loop."""

    async def run(self, ctx: TaskContext[Asked]) -> Done:
        """Wait, as whoever calls out does."""
        await asyncio.sleep(0)
        _foreign.warning("called %s", ctx.event.type)
        return Done()


class CallFromThread(Node[Done]):
    """Calls a library that logs, in a thread."""

    def run(self, ctx: TaskContext[Asked]) -> Done:
        """Log, and end as asked."""
        _foreign.warning("called from a thread")
        if ctx.data.end == "badly":
            raise Permanent("the iban=DE89 is not taken")
        if ctx.data.end == "later":
            raise Transient("come again")
        return Done()


class AwaitWord(WaitForEvent[Asked]):
    """Waits for what does not come."""

    type = "test.word"
    match = "data.end"
    timeout = 600.0

    def key(self, _: TaskContext[Asked]) -> str:
        """Return a key."""
        return "well"


REGISTRY = PipelineRegistry(
    [
        Pipeline(name="patient", types=("test.patient",), schema=Asked, start=AwaitWord),
        Pipeline(
            name="telling",
            types=("test.told",),
            schema=Asked,
            start=CallOut,
            edges={CallOut: CallFromThread},
            retry=RetryPolicy(max_attempts=2, base=86_400.0, cap=86_400.0),
        ),
    ]
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What API, relay and worker write at the default level; this process is all of them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    settings = LogSettings.model_validate({"format": "json", "redact": ["iban"]})
    configure_logging(settings, service="test", stream=written)
    tracing = configure_tracing(TelemetrySettings(), service="test")
    yield written
    tracing.shutdown()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    HIDDEN.set(())
    structlog.reset_defaults()


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


@asynccontextmanager
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(world.settings, registry=REGISTRY, collectors=CollectorRegistry())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api", timeout=30) as client,
    ):
        yield client


async def post(world: World, *events: dict[str, Any]) -> list[dict[str, Any]]:
    async with api(world) as client:
        return [(await client.post("/events", json=event)).json() for event in events]


async def publish(world: World) -> None:
    relay = Relay(world.settings, app=create_celery(world.settings), metrics=null_metrics())
    try:
        await relay._publishing.run_once()
    finally:
        await relay._close()


@asynccontextmanager
async def worker(world: World) -> AsyncIterator[WorkerRuntime]:
    runtime = WorkerRuntime(world.settings, REGISTRY, seat=Seat(name="worker"), metrics=null_metrics())
    runtime.start()
    yield runtime
    runtime.begin_stop()
    assert await asyncio.to_thread(runtime.wait_stopped, 10.0)
    await asyncio.to_thread(runtime.close)


async def process(world: World) -> None:
    async with worker(world) as runtime:
        for sent in world.messages():
            message = Message(
                tenant="default",
                pipeline=sent.kwargs["pipeline"],
                run_ids=tuple(sent.run_ids),
                queue="default",
                task_id="task",
            )
            assert (await asyncio.to_thread(runtime.process, message))["claimed"] == len(sent.run_ids)


def told(number: int, **data: object) -> dict[str, Any]:
    return {"type": "test.told", "source": "test", "id": f"told-{number}", "data": data}


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_each_line_that_comes_with_an_event_is_as_the_page_says_and_there_is_no_other(
    world: World, stream: io.StringIO
) -> None:
    described = described_lines(level="info")
    patient = {"type": "test.patient", "data": {}}
    apart = [{"type": kind, "data": {}} for kind in ("nobody.takes.it", "test.word")]
    await post(world, told(1), told(2, end="badly"), told(3, end="later"), told(1), patient, *apart)
    await publish(world)
    await process(world)
    world.redis.delete("default")
    await post(world, *(told(number) for number in range(10, 20)))
    await publish(world)
    await process(world)

    seen = Counter[str]()
    for line in lines_of(stream):
        if line["event"] in described:
            described[line["event"]].require(line)
            seen[line["event"]] += 1
    assert seen["event accepted"] == 14
    assert (seen["event duplicate"], seen["event unrouted"], seen["event awaited"]) == (1, 1, 1)
    assert 4 <= seen["run published"] + seen["runs published"] < 14
    assert seen["run ended"] == 14
    assert set(seen) == set(described), "the page describes lines that nobody writes"

    of_the_process = {"stopping", "stopped", "lease opened"}
    foreign = [line for line in lines_of(stream) if line["logger"] == "acme.client"]
    rest = [line for line in lines_of(stream) if line["event"] not in described.keys() | of_the_process]
    assert rest == foreign

    ended = [line for line in lines_of(stream) if line["event"] == "run ended"]
    by_outcome = {line["outcome"]: line for line in ended}
    assert set(by_outcome) == {"succeeded", "failed", "retried", "suspended"}
    assert {"reason", "resumes_in", "node"} <= set(by_outcome["suspended"])
    assert {"failure_kind", "error_type", "node"} <= set(by_outcome["failed"])
    assert {"retry_in", "error_type", "node"} <= set(by_outcome["retried"])
    assert not {"failure_kind", "retry_in", "error_type", "node"} & set(by_outcome["succeeded"])


async def test_so_is_each_line_that_debug_adds(world: World, stream: io.StringIO) -> None:
    at_info, at_debug = described_lines(level="info"), described_lines(level="debug")
    logging.getLogger().setLevel(logging.DEBUG)
    await post(world, *(told(number) for number in range(10)))
    await publish(world)
    await process(world)
    ours = [line for line in lines_of(stream) if line["event"] in at_info | at_debug]
    for line in ours:
        (at_info | at_debug)[line["event"]].require(line)
    seen = Counter(line["event"] for line in ours)
    assert set(at_debug) <= set(seen)
    assert (seen["run begins"], seen["run ended"], seen["node ended"]) == (10, 10, 20)


async def test_a_librarys_line_inside_a_node_carries_the_runs_ids_and_the_nodes_span(
    world: World, stream: io.StringIO
) -> None:
    [answer] = await post(world, told(1))
    await publish(world)
    await process(world)
    out, thread = [line for line in lines_of(stream) if line["logger"] == "acme.client"]
    assert (out["event"], out["node"]) == ("called test.told", "call_out")
    assert (thread["event"], thread["node"]) == ("called from a thread", "call_from_thread")
    spans = json.loads(await world.value("SELECT json_object_agg(node, span_id)::text FROM node_results"))
    for line in (out, thread):
        assert line["event_id"] == answer["event_id"]
        assert line["trace_id"] == answer["trace_id"]
        assert (line["pipeline"], line["attempt"], line["tenant"]) == ("telling", 1, "default")
        assert line["span_id"] == spans[line["node"]]
    [ended] = [line for line in lines_of(stream) if line["event"] == "run ended"]
    assert ended["run_id"] == out["run_id"] == thread["run_id"]


async def test_a_line_of_an_operators_request_carries_its_trace(world: World, stream: io.StringIO) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    await post(world, told(1))
    run_id = await world.value("SELECT run_id::text FROM runs")
    async with api(world) as client:
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        assert (await client.post(f"/runs/{run_id}/cancel", headers=headers)).status_code == 200
    [line] = [line for line in lines_of(stream) if line["event"] == "cancel requested"]
    assert (line["trace_id"], line["run_id"]) == (trace_id, run_id)
    assert line["span_id"] != "00f067aa0ba902b7"


async def test_what_the_settings_hide_is_hidden_in_stored_errors_too(world: World, stream: io.StringIO) -> None:
    await post(world, told(1, end="badly"))
    await publish(world)
    await process(world)
    stored = await world.value("SELECT error::text FROM runs")
    assert "iban=[redacted] is not taken" in stored
    assert "DE89" not in stored
    assert "DE89" not in stream.getvalue()
