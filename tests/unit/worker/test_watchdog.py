import asyncio
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from observability.metrics import Metrics
from pipelines.at_work import NodeAtWork
from worker.watchdog import Watchdog

BLOCKED = "the event loop is blocked; the process is ended if it goes on"
AFTER = 0.2


class Watched:
    """A watchdog over the test's own loop."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.dog = Watchdog(after=AFTER, limit=4 * AFTER, lasting=2 * AFTER, metrics=Metrics(self.registry))

    def blocks(self, pipeline: str, node: str) -> float | None:
        return self.registry.get_sample_value("throughline_loop_blocked_total", {"pipeline": pipeline, "node": node})


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.dog.stop()


async def block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - the mistake that is watched for


async def test_a_blocked_loop_is_told_once_with_node_run_and_line(watched: Watched) -> None:
    watched.dog.start()
    name = NodeAtWork(pipeline="triage", node="classify", run_id="0199-a").task_name
    with capture_logs() as lines:
        await asyncio.create_task(block(4 * AFTER), name=name)
        await asyncio.sleep(AFTER)
    (told,) = [line for line in lines if line["event"] == BLOCKED]
    assert (told["pipeline"], told["node"], told["run_id"]) == ("triage", "classify", "0199-a")
    assert "test_watchdog.py" in told["line"]
    assert told["line"].endswith("in block")
    assert AFTER <= told["blocked"] + 0.05 < 4 * AFTER
    (after,) = [line for line in lines if line["event"] == "the event loop goes on"]
    assert after["blocked"] >= 3 * AFTER
    assert watched.blocks("triage", "classify") == 1


async def test_code_that_is_no_nodes_is_told_by_its_line(watched: Watched) -> None:
    watched.dog.start()
    with capture_logs() as lines:
        await asyncio.create_task(block(3 * AFTER), name="mine")
        await asyncio.sleep(AFTER)
    (told,) = [line for line in lines if line["event"] == BLOCKED]
    assert (told["pipeline"], told["task"]) == (None, "mine")
    assert watched.blocks("unknown", "unknown") == 1


async def test_a_loop_that_waits_is_not_blocked(watched: Watched) -> None:
    watched.dog.start()
    with capture_logs() as lines:
        await asyncio.sleep(3 * AFTER)
    assert [line for line in lines if line["event"] == BLOCKED] == []
