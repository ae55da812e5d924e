"""What branches, items and inner nodes leave in PostgreSQL, and what a later try finds of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from events import AttemptOutcome, NodeStatus, Permanent, RunStatus, new_id
from observability.metrics import null_metrics
from observability.tracing import new_span_id
from pipelines import ConcurrentNode, MapNode, Node, Pipeline, RetryPolicy, Stop, SubPipeline, TaskContext
from storage import claims, leases
from storage.attempts import errors_by_node
from storage.engine import transaction
from storage.records import RunRecord
from tests.support.flows import Probe
from tests.support.working import TENANT, Sent, Workshop, workshop
from worker.database import Database
from worker.execution import Execution
from worker.held import Claimed
from worker.journal import RunJournal, record_of
from worker.message import Message
from worker.writes import Writes

CALLS: list[str] = []


class Paid(Node[str]):
    effects = True

    async def run(self, ctx: TaskContext[Probe]) -> str:
        CALLS.append(ctx.node)
        return ctx.idempotency_key


class Flaky(Node[int]):
    async def run(self, ctx: TaskContext[Probe]) -> int:
        CALLS.append(ctx.node)
        if ctx.attempt == 1:
            raise OSError("away")
        return ctx.attempt


class Shaky(Flaky):
    pass


class Fatal(Node[int]):
    async def run(self, ctx: TaskContext[Probe]) -> int:
        CALLS.append(ctx.node)
        raise Permanent("no such customer")


class Within(SubPipeline[str]):
    pipeline = Pipeline(name="within", types=("x",), schema=Probe, start=Paid)
    result = Paid

    def data(self, ctx: TaskContext[Probe]) -> Probe:
        return ctx.data


class Both(ConcurrentNode):
    nodes = (Within, Flaky, Shaky, Fatal)
    keep_failures = True


class Many(MapNode[int, int]):
    """Commits each of many, several at once."""

    effects = True

    def items(self, _: TaskContext[Probe]) -> Sequence[int]:
        return range(450)

    async def each(self, _: TaskContext[Probe], item: int) -> int:
        return item


class Enough(Node[None]):
    async def run(self, ctx: TaskContext[Probe]) -> None:
        CALLS.append(ctx.node)
        raise Stop("enough")


class Never(Paid):
    pass


PIPELINE: Pipeline[Any] = Pipeline(
    name="kinds",
    types=("test.kinds",),
    schema=Probe,
    start=Both,
    edges={Both: Many, Many: Enough, Enough: Never},
    retry=RetryPolicy(base=0.0),
)


@asynccontextmanager
async def writing(shop: Workshop) -> AsyncIterator[Writes]:
    database = Database(shop.settings.database, application="test")
    writes = Writes(database)
    writes.start()
    yield writes
    await writes.close()
    await database.close()


async def try_once(shop: Workshop, sent: Sent) -> RunRecord:
    """Claim the run, with what earlier attempts left, and execute it."""
    lease_id, span_id = new_id(), new_span_id()
    claim = claims.Claim(tenant=TENANT, run_ids=[sent.run_id], span_ids=[span_id], lease_id=lease_id, task_id=None)
    async with transaction(shop.engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="test:1", seconds=60)
    async with transaction(shop.engine) as connection:
        [run] = await claims.claim_runs(connection, claim)
        done = await claims.done_nodes(connection, tenant=TENANT, run_ids=[run.run_id])
        errors = await errors_by_node(connection, tenant=TENANT, run_ids=[run.run_id])
    claimed = Claimed(
        run=run,
        span_id=span_id,
        done={(one.node, one.item): record_of(one) for one in done.get(run.run_id, ())},
        errors_by_node=errors.get(run.run_id, {}),
    )
    message = Message(tenant=TENANT, pipeline="kinds", run_ids=(sent.run_id,), queue="default")
    async with writing(shop) as writes:
        await Execution(writes, null_metrics()).run(
            claimed, RunJournal(run, writes), pipeline=PIPELINE, message=message
        )
    return await shop.run(sent)


async def test_a_later_try_takes_up_every_part_that_is_done(database_url: str, redis_url: str, tmp_path: Path) -> None:
    CALLS.clear()
    async with workshop(database_url, redis_url, tmp_path) as shop:
        [sent] = await shop.store("kinds")
        first = await try_once(shop, sent)
        async with transaction(shop.engine) as connection:
            errors = await errors_by_node(connection, tenant=TENANT, run_ids=[sent.run_id])
        second = await try_once(shop, sent)

    assert (first.status, first.attempts[0].outcome) == (RunStatus.QUEUED, AttemptOutcome.RETRIED)
    assert first.attempts[0].error is not None
    assert (first.attempts[0].error["node"], first.attempts[0].error["nodes"]) == ("both", ["flaky", "shaky"])
    assert errors == {sent.run_id: {"flaky": 1, "shaky": 1}}
    assert second.status is RunStatus.SUCCEEDED
    assert sorted(CALLS) == ["enough", "fatal", "flaky", "flaky", "shaky", "shaky", "within.paid"]
    results = {(node.node, node.item): node for node in second.nodes}
    assert results["within.paid", 0].attempt == 1
    assert results["fatal", 0].status is NodeStatus.FAILED
    assert results["fatal", 0].output == {"given_up": "Permanent: no such customer"}
    assert results["both", 0].output == {
        "succeeded": ["within", "flaky", "shaky"],
        "failed": {"fatal": "Permanent: no such customer"},
    }
    assert [results["many", item].output for item in range(1, 451)] == list(range(450))
    assert results["enough", 0].status is NodeStatus.STOPPED
    assert results["never", 0].status is NodeStatus.SKIPPED
