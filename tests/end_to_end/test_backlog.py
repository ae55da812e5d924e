import asyncio
from collections import Counter
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.system import System, eventually

EVENTS = 5000
SENDERS = 32


async def send_all(url: str, count: int) -> Counter[int]:
    """POST ``count`` events over a few connections; count the answers by status."""
    answers: Counter[int] = Counter()
    left = iter(range(count))

    async def sender(client: httpx.AsyncClient) -> None:
        for number in left:
            body = {"type": "test.effect", "source": "backlog", "id": str(number), "data": {"number": number}}
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
    flows = {"THROUGHLINE_PIPELINES_MODULES": '["tests.support.flows"]', "TEST_LEDGER": str(ledger)}
    whole.start_api(**flows)
    assert asyncio.run(send_all(whole.api_url, EVENTS)) == {202: EVENTS}
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
    assert (counts["attempts"], counts["succeeded"], counts["results"]) == (EVENTS, EVENTS, EVENTS)
    assert counts["workers"] == 2
    effects = Counter(ledger.read_text().split())
    assert len(effects) == EVENTS
    assert set(effects.values()) == {1}
