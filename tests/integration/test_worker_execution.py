"""What is told of a run whose end PostgreSQL has decided otherwise than its nodes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from structlog.testing import capture_logs

from events import FailureKind, QueueReason, RunStatus, new_id
from observability.metrics import Metrics, null_metrics
from observability.tracing import configure_tracing, new_span_id
from pipelines import Node, Pipeline, RetryPolicy, TaskContext
from settings import TelemetrySettings
from storage import claims, leases
from storage.cancels import request_cancel
from storage.engine import transaction
from storage.outcomes import NodeWrite
from tests.support.flows import Probe, patient
from tests.support.working import TENANT, Sent, Workshop, workshop
from worker.database import Database
from worker.execution import Execution
from worker.held import Claimed
from worker.journal import RunJournal
from worker.message import Message
from worker.writes import Writes


class Overtaken(Node[dict[str, Any]]):
    """Is asked to end, and fails before it hears of it."""

    shop: Workshop

    async def run(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        """Let the request commit, and fail."""
        async with transaction(self.shop.engine) as connection:
            await request_cancel(connection, tenant=TENANT, run_ids=[ctx.run_id], reason="enough")
        raise RuntimeError("not yet")


class TakenAway(Node[dict[str, Any]]):
    """Loses its run to a rescuer while it works."""

    shop: Workshop
    sent: Sent

    async def run(self, _: TaskContext[Any]) -> dict[str, Any]:
        """Let the rescue commit, and be late."""
        await self.shop.take_away(self.sent)
        return {}


class TakenAwayWithEffects(TakenAway):
    """The same, and is late with a checkpoint already."""

    effects = True


class Fine(Node[dict[str, Any]]):
    """Gives something back."""

    async def run(self, _: TaskContext[Any]) -> dict[str, Any]:
        """Give nothing much."""
        return {}


class OddJournal(RunJournal):
    """Writes what PostgreSQL refuses, which the check of outputs is there to prevent."""

    @property
    def pending(self) -> tuple[NodeWrite, ...]:
        """Put a null character in each output."""
        return tuple(replace(node, output=node.output and r'"\u0000"') for node in super().pending)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    configure_tracing(TelemetrySettings(), service="worker", processors=[SimpleSpanProcessor(exporter)])
    return exporter


@asynccontextmanager
async def writing(shop: Workshop) -> AsyncIterator[Writes]:
    database = Database(shop.settings.database, application="test")
    writes = Writes(database)
    writes.start()
    yield writes
    await writes.close()
    await database.close()


async def execute(
    shop: Workshop, sent: Sent, pipeline: Pipeline[Any], metrics: Metrics, *, journal: type[RunJournal] = RunJournal
) -> None:
    """Claim a run and execute it, with nobody to hear of a cancel."""
    lease_id, span_id = new_id(), new_span_id()
    claim = claims.Claim(tenant=TENANT, run_ids=[sent.run_id], span_ids=[span_id], lease_id=lease_id, task_id=None)
    async with transaction(shop.engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="test:1", seconds=60)
    async with transaction(shop.engine) as connection:
        [run] = await claims.claim_runs(connection, claim)
    message = Message(tenant=TENANT, pipeline=pipeline.name, run_ids=(sent.run_id,), queue="default")
    async with writing(shop) as writes:
        await Execution(writes, metrics).run(
            Claimed(run=run, span_id=span_id), journal(run, writes), pipeline=pipeline, message=message
        )


@pytest.mark.parametrize(("node", "status"), [(Overtaken, RunStatus.CANCELLED), (Fine, RunStatus.FAILED)])
async def test_what_became_of_the_run_is_counted_logged_and_traced(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    spans: InMemorySpanExporter,
    node: type[Node[dict[str, Any]]],
    status: RunStatus,
) -> None:
    collected = CollectorRegistry()
    async with workshop(database_url, redis_url, tmp_path) as shop:
        Overtaken.shop = shop
        pipeline: Pipeline[Any] = Pipeline(
            name="told", types=("test.told",), schema=Probe, start=node, retry=RetryPolicy()
        )
        [sent] = await shop.store("told")
        with capture_logs() as logged:
            await execute(shop, sent, pipeline, Metrics(collected), journal=OddJournal)
        run = await shop.run(sent)

    def count(name: str, outcome: str) -> float | None:
        return collected.get_sample_value(name, {"pipeline": "told", "outcome": outcome})

    told = status.value
    assert (run.status, run.attempts[0].outcome) == (status, told)
    assert count("throughline_runs_total", told) == 1
    assert count("throughline_run_end_to_end_seconds_count", told) == 1
    assert count("throughline_runs_total", "retried") is None
    assert count("throughline_runs_total", "succeeded") is None
    slo = {"sli": "execution", "pipeline": "told", "good": "false"}
    bad = collected.get_sample_value("throughline_slo_events_total", slo)
    assert bad == (1 if status is RunStatus.FAILED else None)
    claimed = collected.get_sample_value("throughline_slo_events_total", slo | {"sli": "queueing", "good": "true"})
    assert claimed == 1
    assert [line["outcome"] for line in logged if line["event"] == "run ended"] == [told]
    [span] = [span for span in spans.get_finished_spans() if span.name == "process told"]
    assert (span.attributes or {})["throughline.outcome"] == told


async def test_a_try_that_begins_a_wait_is_neither_good_nor_bad_and_no_end(
    database_url: str, redis_url: str, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    collected = CollectorRegistry()
    async with workshop(database_url, redis_url, tmp_path) as shop:
        [sent] = await shop.store("patient")
        await execute(shop, sent, patient, Metrics(collected))
        run = await shop.run(sent)
    assert (run.status, run.reason, run.errors) == (RunStatus.QUEUED, QueueReason.WAITING, 0)
    samples = {
        (sample.name, sample.labels.get("outcome"), sample.labels.get("sli")): sample.value
        for family in collected.collect()
        for sample in family.samples
    }
    assert samples["throughline_runs_total", "suspended", None] == 1
    assert samples["throughline_run_duration_seconds_count", "suspended", None] == 1
    assert ("throughline_slo_events_total", None, "execution") not in samples
    assert not [name for name, *_ in samples if name.startswith("throughline_run_end_to_end_seconds")]
    [span] = [span for span in spans.get_finished_spans() if span.name == "process patient"]
    assert (span.attributes or {})["throughline.outcome"] == "suspended"
    assert span.status.is_unset


@pytest.mark.parametrize("node", [TakenAway, TakenAwayWithEffects])
async def test_finish_and_checkpoint_of_a_run_that_was_rescued_write_nothing_and_are_counted(
    database_url: str, redis_url: str, tmp_path: Path, node: type[TakenAway]
) -> None:
    collected = CollectorRegistry()
    async with workshop(database_url, redis_url, tmp_path) as shop:
        pipeline: Pipeline[Any] = Pipeline(name="told", types=("test.told",), schema=Probe, start=node)
        [sent] = await shop.store("told")
        TakenAway.shop, TakenAway.sent = shop, sent
        await execute(shop, sent, pipeline, Metrics(collected))
        run = await shop.run(sent)

    assert collected.get_sample_value("throughline_stale_writes_total") == 1
    assert collected.get_sample_value("throughline_runs_total", {"pipeline": "told", "outcome": "succeeded"}) is None
    assert (run.status, run.reason, run.nodes) == (RunStatus.QUEUED, QueueReason.RESCUED, ())


async def test_a_run_that_waited_beyond_its_lifetime_fails_by_the_databases_clock(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        pipeline: Pipeline[Any] = Pipeline(name="told", types=("test.told",), schema=Probe, start=Fine, lifetime=3600.0)
        early, late = await shop.store("told", 2)
        made = text("UPDATE runs SET created_at = now() - interval '61 minutes' WHERE run_id = :run_id")
        async with transaction(shop.engine) as connection:
            await connection.execute(made, {"run_id": late.run_id})
        for sent in (early, late):
            await execute(shop, sent, pipeline, null_metrics())
        assert (await shop.run(early)).status is RunStatus.SUCCEEDED
        run = await shop.run(late)

    assert (run.status, run.failure_kind, run.attempt) == (RunStatus.FAILED, FailureKind.TIMEOUT, 1)
    assert (run.error or {})["message"] == "the pipeline's time was over in node 'fine'"
