from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import SecretStr
from structlog.testing import capture_logs

from events import new_id
from observability.metrics import null_metrics
from observability.tracing import Tracing, configure_tracing
from observability.tracing.celery_spans import instrument_celery
from settings import TelemetrySettings
from storage.records import DueRun
from tests.support.relaying import World, until
from tests.support.tcp_proxy import Mode, tcp_proxy
from worker.app import create_celery
from worker.relay.chunking import Outgoing
from worker.relay.publisher import Publisher

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing: Tracing = configure_tracing(
        TelemetrySettings(), service="relay", processors=[SimpleSpanProcessor(exporter)]
    )
    instrument_celery()
    yield exporter
    CeleryInstrumentor().uninstrument()  # type: ignore[no-untyped-call]  # it has no annotations
    tracing.shutdown()


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


async def test_a_lone_runs_message_belongs_to_its_events_trace(world: World, spans: InMemorySpanExporter) -> None:
    (run_id,) = await world.store(traceparent=PARENT)
    with capture_logs() as lines:
        async with world.relay():
            await until(world.messages)
            (span,) = await until(spans.get_finished_spans)
    assert span.name == "apply_async/process_incoming_event"
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE_ID, "00f067aa0ba902b7")
    (message,) = world.messages()
    assert span.context is not None
    assert message.headers["traceparent"] == f"00-{TRACE_ID}-{span.context.span_id:016x}-01"
    (line,) = [line for line in lines if line["event"] == "run published"]
    assert (line["trace_id"], line["run_id"]) == (TRACE_ID, str(run_id))


async def test_a_shared_message_has_its_own_trace_linked_to_every_runs(
    world: World, spans: InMemorySpanExporter
) -> None:
    parents = {f"00-{number:032x}-00f067aa0ba902b7-01" for number in range(1, 101)}
    for parent in parents:
        await world.store(traceparent=parent)
    with capture_logs() as lines:
        async with world.relay():
            await until(lambda: len(world.sent()) == 100)
            await until(lambda: len(spans.get_finished_spans()) == 2 * len(world.messages()))
    found = spans.get_finished_spans()
    own = [span for span in found if span.name == "publish"]
    sent = [span for span in found if span.name == "apply_async/process_incoming_event"]
    assert len(own) == len(sent) == len(world.messages()) < 100
    assert all(span.parent is None for span in own)
    assert {span.parent.span_id for span in sent if span.parent} == {
        span.context.span_id for span in own if span.context
    }
    linked = [f"{link.context.trace_id:032x}" for span in own for link in span.links]
    assert sorted(linked) == sorted(parent.split("-")[1] for parent in parents)
    told = [trace_id for line in lines if line["event"] == "runs published" for trace_id in line["trace_ids"]]
    assert sorted(told) == sorted(linked)


async def test_a_message_that_could_not_be_sent_leaves_an_ended_span_that_says_so(
    world: World, spans: InMemorySpanExporter
) -> None:
    run = DueRun(tenant="default", run_id=new_id(), pipeline="p", queue="default", traceparent=PARENT)
    message = Outgoing(tenant="default", pipeline="p", queue="default", runs=(run,))
    async with tcp_proxy(world.settings.redis.url.get_secret_value()) as proxy:
        redis = world.settings.redis.model_copy(update={"url": SecretStr(proxy.url)})
        app = create_celery(world.settings.model_copy(update={"redis": redis}))
        publisher = Publisher(app, metrics=null_metrics())
        for mode in (Mode.PASS, Mode.REFUSE, Mode.PASS):
            proxy.switch(mode)
            delivery = await publisher.send([message])
            assert (delivery.down is None) == (mode is Mode.PASS)
            assert (delivery.sent, delivery.unsent) == (([message], []) if mode is Mode.PASS else ([], [message]))
        publisher.close()
    found = spans.get_finished_spans()
    assert [span.status.status_code for span in found] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert {span.parent.span_id for span in found if span.parent} == {0x00F067AA0BA902B7}
    assert len(world.messages()) == 2
