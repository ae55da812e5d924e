from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime, Integer, Uuid

from events import AttemptOutcome, FailureKind, NodeStatus, QueueReason, RunStatus, new_id
from observability.tracing import configure_tracing
from settings import TelemetrySettings
from storage import dead_attempts as dead_attempts_module
from storage import leases, outcomes
from storage.dead_attempts import dead_attempts, ended_lately
from storage.engine import transaction
from storage.outcomes import Finish, NodeWrite
from storage.records import NodeResult
from storage.sql import typed
from tests.support.relaying import TENANT, World
from worker.lost_spans import LostSpans

TRACEPARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"

HISTORY = """
    WITH e AS (
        INSERT INTO events (tenant, event_id, source, ce_id, type, data, content_hash, routes)
        SELECT 'default', gen_random_uuid(), 's', n::text, 't', '{}', ''::bytea, 1 FROM generate_series(1, 20000) AS n
        RETURNING tenant, event_id
    ), r AS (
        INSERT INTO runs (tenant, run_id, event_id, pipeline, pipeline_version, queue, status, attempt, finished_at)
        SELECT tenant, gen_random_uuid(), event_id, 'p', 1, 'default', 'succeeded', 1, now() - interval '1 day' FROM e
        RETURNING tenant, run_id
    )
    INSERT INTO attempts (tenant, run_id, attempt, lease_id, worker, span_id, outcome, finished_at)
    SELECT tenant, run_id, 1, gen_random_uuid(), 'w', 'a', 'succeeded', now() - interval '1 day' FROM r
"""


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing = configure_tracing(TelemetrySettings(), service="relay", processors=[SimpleSpanProcessor(exporter)])
    yield exporter
    tracing.shutdown()


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


async def finish(world: World, run_id: UUID, outcome: AttemptOutcome, *nodes: NodeWrite, attempt: int = 1) -> None:
    retried = outcome is AttemptOutcome.RETRIED
    ending = Finish(
        tenant=TENANT,
        run_id=run_id,
        attempt=attempt,
        status=RunStatus.QUEUED if retried else RunStatus(outcome.value),
        outcome=outcome,
        reason=QueueReason.RETRY if retried else None,
        kind=FailureKind.ERROR if outcome is AttemptOutcome.FAILED else None,
        error='{"type": "ValueError", "message": "no"}' if retried else None,
        nodes=nodes,
    )
    async with transaction(world.engine) as connection:
        assert await outcomes.finish_runs(connection, [ending])


async def lately(world: World, lease_id: UUID, *, reach: float = 5.0, most: int = 100) -> list[tuple[UUID, int]]:
    async with world.engine.connect() as connection:
        found = await ended_lately(connection, [lease_id], reach=reach, most=most)
    return [(run_id, attempt) for _, run_id, attempt in found]


async def test_what_a_dead_process_ended_lately_is_found_wherever_its_run_is_now(world: World) -> None:
    dead, other = await world.lease(seconds=60), await world.lease(seconds=60)
    runs = await world.store(8)
    succeeded, failed, cancelled, waiting, running, ended, before, others = runs
    await world.claim(dead, runs[:7])
    await world.claim(other, [others])
    for run_id in (succeeded, before):
        await finish(world, run_id, AttemptOutcome.SUCCEEDED)
    await finish(world, others, AttemptOutcome.SUCCEEDED)
    await finish(world, failed, AttemptOutcome.FAILED)
    await finish(world, cancelled, AttemptOutcome.CANCELLED)
    for run_id in (waiting, running, ended):
        await finish(world, run_id, AttemptOutcome.RETRIED)
    assert len(await world.claim(other, [running, ended])) == 2
    await finish(world, ended, AttemptOutcome.SUCCEEDED, attempt=2)
    for table in ("runs", "attempts"):
        async with transaction(world.engine) as connection:
            await connection.execute(
                text(f"UPDATE {table} SET finished_at = now() - interval '60 s' WHERE run_id = :id"),
                {"id": before},
            )

    expected = {(run_id, 1) for run_id in (succeeded, failed, cancelled, waiting, running, ended)}
    assert set(await lately(world, dead)) == expected
    assert {run_id for run_id, _ in await lately(world, dead, reach=120.0)} == {key[0] for key in expected} | {before}
    assert await lately(world, dead, most=2) == (await lately(world, dead))[:2]


async def test_a_lease_is_searched_once_however_often_it_is_swept_for_a_run_that_somebody_locks(
    world: World, spans: InMemorySpanExporter
) -> None:
    dead = await world.lease(seconds=60)
    done, held = await world.store(2, traceparent=TRACEPARENT)
    await world.claim(dead, [done, held])
    await finish(world, done, AttemptOutcome.SUCCEEDED)
    async with transaction(world.engine) as connection:
        await leases.end_lease(connection, dead)
    lost = LostSpans(partial(transaction, world.engine), reach=5.0)

    async def sweep() -> list[str]:
        async with transaction(world.engine) as connection:
            freed = await leases.free_runs(connection, [dead], died=True)
        lost.note([dead], freed)
        await lost.make()
        made = [str((span.attributes or {})["throughline.outcome"]) for span in spans.get_finished_spans()]
        spans.clear()
        return made

    async with transaction(world.engine) as somebody:
        await somebody.execute(text("SELECT FROM runs WHERE run_id = :id FOR UPDATE"), {"id": held})
        assert await sweep() == ["succeeded"]
        assert await sweep() == []
    assert await sweep() == ["lost"]


async def test_the_search_after_a_death_does_not_read_the_history(world: World) -> None:
    async with transaction(world.engine) as connection:
        await connection.execute(text(HISTORY))
    async with world.engine.connect() as connection:
        await connection.execute(text("ANALYZE runs, attempts"))
        explain = typed(
            f"EXPLAIN (FORMAT JSON) {dead_attempts_module._ENDED_LATELY.text}",
            lease_ids=ARRAY(Uuid),
            since=DateTime(timezone=True),
            most=Integer(),
        )
        values = {"lease_ids": [new_id()], "since": datetime.now(UTC) - timedelta(seconds=10), "most": 100}
        (plan,) = (await connection.execute(explain, values)).scalar_one()
    read = [node for node in nodes_of(plan["Plan"]) if node.get("Relation Name") in {"runs", "attempts"}]
    assert len(read) >= 4
    assert [node["Node Type"] for node in read if node["Node Type"] == "Seq Scan"] == []


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)


async def test_an_attempt_is_read_with_its_committed_nodes_and_the_span_before_it(world: World) -> None:
    (run_id,) = await world.store(traceparent=TRACEPARENT, pipeline="p")
    lease = await world.lease(seconds=60)
    await world.claim(lease, [run_id])
    await finish(world, run_id, AttemptOutcome.RETRIED, node(run_id, 1, "first"))
    await world.claim(lease, [run_id])
    await finish(
        world,
        run_id,
        AttemptOutcome.SUCCEEDED,
        node(run_id, 2, "last"),
        node(run_id, 2, "other", span=False),
        attempt=2,
    )

    async with world.engine.connect() as connection:
        keys = [(TENANT, run_id, number) for number in (1, 2, 3)]
        first, second = sorted(await dead_attempts(connection, keys), key=lambda found: found.attempt)
    assert (first.outcome, first.error) == (AttemptOutcome.RETRIED, {"type": "ValueError", "message": "no"})
    assert [found.node for found in first.nodes] == ["first"]
    assert [found.node for found in second.nodes] == ["last"]
    assert (first.previous_span_id, second.previous_span_id) == (None, first.span_id)
    assert {found.traceparent for found in (first, second)} == {TRACEPARENT}
    assert {(found.worker, found.task_id, found.queue) for found in (first, second)} == {
        ("worker:1", "task", "default")
    }


def node(run_id: UUID, attempt: int, name: str, *, span: bool = True) -> NodeWrite:
    result = NodeResult(
        node=name,
        item=0,
        attempt=attempt,
        status=NodeStatus.SUCCEEDED if span else NodeStatus.SKIPPED,
        output=None,
        error=None,
        started_at=datetime.now(UTC),
        duration_seconds=0.5,
        span_id="12" * 8 if span else None,
    )
    return NodeWrite(tenant=TENANT, run_id=run_id, attempt=attempt, result=result, output="1", error=None)
