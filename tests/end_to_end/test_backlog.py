import asyncio
from collections import Counter
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.otlp import OtlpReceiver
from tests.support.system import QUESTION, System, eventually
from tests.support.trees import path_to, tree_of

EVENTS = 5000
SENDERS = 32
NODES = 3


async def send_all(url: str, count: int, *, ledger: Path) -> Counter[int]:
    """POST ``count`` events over a few connections; count the answers by status."""
    answers: Counter[int] = Counter()
    left = iter(range(count))

    async def sender(client: httpx.AsyncClient) -> None:
        for number in left:
            body = {"type": "test.steady", "source": "backlog", "id": str(number), "data": {"log": str(ledger)}}
            answers[(await client.post("/events", json=body)).status_code] += 1

    limits = httpx.Limits(max_connections=SENDERS)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30, trust_env=False) as client:
        await asyncio.gather(*(sender(client) for _ in range(SENDERS)))
    return answers


async def query(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


@pytest.mark.timeout(300)
def test_two_relays_and_two_workers_complete_each_run_of_a_backlog_once(
    whole: System, database_url: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    flows = {"THROUGHLINE_PIPELINES_MODULES": '["tests.support.flows"]'}
    whole.start_api(**flows)
    assert asyncio.run(send_all(whole.api_url, EVENTS, ledger=ledger)) == {202: EVENTS}
    for number in (1, 2):
        whole.start_relay(f"relay-{number}", **flows)
        whole.start_worker(f"worker-{number}", **flows)

    def statuses() -> dict[str, int]:
        rows = asyncio.run(query(database_url, "SELECT status, count(*) AS n FROM runs GROUP BY status"))
        return {row["status"]: row["n"] for row in rows}

    eventually(
        lambda: statuses() == {"succeeded": EVENTS}, timeout=200, what=f"all {EVENTS} runs succeeded: {statuses()}"
    )
    whole.stop()

    (counts,) = asyncio.run(
        query(
            database_url,
            """
            SELECT (SELECT count(*) FROM attempts) AS attempts,
                   (SELECT count(*) FROM attempts WHERE outcome = 'succeeded') AS succeeded,
                   (SELECT count(*) FROM node_results) AS results,
                   (SELECT count(DISTINCT worker) FROM attempts) AS workers
            """,
        )
    )
    assert (counts["attempts"], counts["succeeded"], counts["results"]) == (EVENTS, EVENTS, NODES * EVENTS)
    assert counts["workers"] == 2
    effects = Counter(tuple(line.split()[:2]) for line in ledger.read_text().splitlines())
    assert len(effects) == NODES * EVENTS
    assert set(effects.values()) == {1}, "a node was called twice"


def test_under_backlog_each_events_spans_are_still_one_tree_linked_to_its_message(
    whole: System, receiver: OtlpReceiver
) -> None:
    whole.start_api()
    answers = [whole.post({**QUESTION, "id": str(number)}) for number in range(60)]
    whole.start_relay(THROUGHLINE_RELAY_SINGLE_BELOW="1")
    whole.start_worker()
    assert whole.ended(answers[-1]["event_id"])["status"] == "succeeded"
    for answer in answers:
        assert whole.ended(answer["event_id"])["status"] == "succeeded"
    whole.stop()
    spans = receiver.spans
    everywhere = {(span.trace_id, span.span_id): span for span in spans}
    linked = 0
    for answer in answers:
        by_id = tree_of(spans, answer["trace_id"])
        processes = [span for span in by_id.values() if span.name.startswith("process ")]
        assert len(processes) == 2
        for process in processes:
            messages = [everywhere[link.trace_id, link.span_id] for link in process.links]
            back = {(link.trace_id, link.span_id) for message in messages for link in message.links}
            linked += bool(messages)
            if messages:
                assert (process.trace_id, process.span_id) in back
                assert path_to(process, by_id) == ["POST /events", "accept", process.name]
    assert linked > len(answers)
