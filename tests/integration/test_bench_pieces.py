"""The parts of ``make bench`` that a wrong figure could come from, as the processes that they are."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from benchmarks.loadgen import Orders, Sent
from benchmarks.sink_client import SinkClient
from throughline.embedded import free_port
from throughline.supervision import port_open

ROOT = Path(__file__).parents[2]
SPAN = ExportTraceServiceRequest(
    resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(trace_id=b"t" * 16, name="accept")])])]
).SerializeToString()


@asynccontextmanager
async def running(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def listening(module: str, *arguments: str) -> AsyncIterator[int]:
    port = free_port()
    async with running(module, str(port), *arguments) as process:
        while not port_open(port):
            assert process.returncode is None
            await asyncio.sleep(0.02)
        yield port


async def send(orders: Orders, said: bytes = b"") -> Sent:
    async with running("benchmarks.loadgen", json.dumps(asdict(orders))) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(said)
        answer = await asyncio.wait_for(process.stdout.read(), 30)
    return Sent(**json.loads(answer))


@pytest.mark.parametrize(("connections", "batch"), [(1, 0), (32, 0), (4, 50)])
async def test_the_load_generator_sends_as_many_events_as_it_is_told(connections: int, batch: int) -> None:
    async with listening("benchmarks.responder") as port:
        orders = Orders(
            ports=(port,), connections=connections, type="bench.three", source="s", count=1_000, batch=batch
        )
        sent = await send(orders)
    assert (sent.accepted, sent.refused, sent.broken) == (1_000, {}, 0)
    assert sent.requests == 1_000 // (batch or 1)
    assert 0 < sent.p50 <= sent.p99 < sent.seconds


async def test_a_delayed_round_trip_takes_that_much_longer() -> None:
    async with listening("benchmarks.responder") as port, listening("benchmarks.delay_proxy", str(port), "20") as far:
        orders = Orders(ports=(far,), connections=1, type="bench.three", source="s", count=20)
        sent = await send(orders)
    assert sent.accepted == 20
    assert sent.p50 >= 0.02


async def test_a_slow_collector_has_the_spans_long_before_it_says_so() -> None:
    async with listening("benchmarks.sink", "0.5") as port:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/traces HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(SPAN) + SPAN)
        counts = await asyncio.to_thread(SinkClient(port).await_names, {"accept": 1})
        assert counts.spans == 1
        assert (await reader.readline()).split()[1] == b"200"
        assert time.monotonic() - began >= 0.5
        writer.close()
