import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from settings import DatabaseSettings
from storage.audit import audit
from tests.support.limited_flows import AT_ONCE, greatest_overlap, lines, open_visits
from tests.support.system import System, eventually

pytestmark = [pytest.mark.verify, pytest.mark.timeout(300)]

FLOWS = {"THROUGHLINE_PIPELINES_MODULES": '["tests.support.limited_flows"]', "THROUGHLINE_WORKER_LEASE": "5"}
KEYS = ("a", "b", "c", "d")
EACH = 60


async def send_all(url: str, ledger: Path) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        for number in range(EACH):
            events = [
                {
                    "type": "test.guarded",
                    "id": f"{key}{number}",
                    "data": {"log": str(ledger), "key": key, "stay": 0.02 * (number % 5)},
                }
                for key in KEYS
            ]
            answer = await client.post("/events", json=events)
            assert answer.json()["accepted"] == len(KEYS), answer.text


def counted(database_url: str, statement: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_four_processes_hold_limits_by_key_to_the_unit_though_one_is_killed_with_permits(
    whole: System, database_url: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    whole.start_api(**FLOWS)
    for number in (1, 2):
        whole.start_relay(f"relay-{number}", **FLOWS)
    for number in range(1, 5):
        whole.start_worker(f"worker-{number}", **FLOWS)
    asyncio.run(send_all(whole.api_url, ledger))

    killed = kill_a_holder(ledger)
    done = "SELECT count(*) FROM runs WHERE status = 'succeeded'"
    eventually(lambda: counted(database_url, done) == len(KEYS) * EACH, timeout=200, what="every run succeeded")
    whole.stop()

    told = lines(ledger)
    assert greatest_overlap(told) == dict.fromkeys(KEYS, AT_ONCE)
    assert len({pid for _, _, _, pid in told}) == 4
    assert counted(database_url, "SELECT count(*) FROM attempts WHERE outcome = 'lost'") > 0, killed
    settings = DatabaseSettings.model_validate({"url": database_url})
    findings = asyncio.run(audit(settings, grace=60.0, most=5, check_timeout=30.0))
    assert {found.check: found.ids for found in findings if found.count} == {}


def kill_a_holder(ledger: Path) -> str:
    """Kill a worker that is at work on a run once half of them have come, and say so in the ledger."""

    def somebody() -> str | None:
        told = lines(ledger)
        there = open_visits(told)
        return next(iter(there.values()))[1] if len(told) > len(KEYS) * EACH and there else None

    pid = eventually(somebody, timeout=100, what="a worker is at work")
    assert pid is not None
    os.kill(int(pid), signal.SIGKILL)
    with ledger.open("a") as file:
        file.write(f"killed - - {pid}\n")
    return pid
