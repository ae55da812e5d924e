"""A failover of PostgreSQL under the real processes: they go on with the promoted standby, and nothing is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from events import new_id
from migrations.run import upgrade
from settings import DatabaseSettings
from storage.audit import audit
from tests.support.relaying import until
from tests.support.standby import Pair, postgres_pair
from tests.support.system import FINAL, QUESTION, System, system
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

REFUSED_WITHIN = 2.0
SLACK = 1.5
"""Seconds that a busy machine may add."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one POST came to."""

    status: int
    seconds: float
    retry_after: str | None
    event_id: str | None


@dataclass(slots=True)
class Poster:
    """Posts events, a few at a time, and keeps every answer."""

    url: str
    answers: list[Answer] = field(default_factory=list)

    async def post_on(self) -> None:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            await asyncio.gather(*(self._post_on(client) for _ in range(4)))

    async def _post_on(self, client: httpx.AsyncClient) -> None:
        while True:
            began = time.monotonic()
            response = await client.post(f"{self.url}/events", json={**QUESTION, "id": str(new_id())})
            body: dict[str, Any] = response.json()
            seconds = time.monotonic() - began
            self.answers.append(
                Answer(response.status_code, seconds, response.headers.get("Retry-After"), body.get("event_id"))
            )
            await asyncio.sleep(0.05)

    def having(self, status: int) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == status]

    async def until(self, status: int, *, more: int) -> None:
        """Wait for so many more answers of this status."""
        enough = len(self.having(status)) + more
        await until(lambda: len(self.having(status)) >= enough, within=30.0)


@dataclass(frozen=True, slots=True)
class Stage:
    """The pair, the proxy that leads to one of the two, and the processes that know only the proxy."""

    pair: Pair
    proxy: TcpProxy
    processes: System


@pytest.fixture
async def stage(tmp_path: Path, redis_url: str) -> AsyncIterator[Stage]:
    with postgres_pair(tmp_path) as pair:
        await asyncio.to_thread(upgrade, DatabaseSettings(url=SecretStr(pair.primary.url)))
        async with tcp_proxy(pair.primary.url) as proxy:
            with system(database_url=proxy.url, redis_url=redis_url, home=tmp_path, settings={}) as processes:
                await asyncio.to_thread(processes.start_relay)
                await asyncio.to_thread(processes.start_worker, "worker-1")
                await asyncio.to_thread(processes.start_worker, "worker-2")
                await asyncio.to_thread(processes.start_api)
                yield Stage(pair, proxy, processes)


@pytest.mark.verify
@pytest.mark.timeout(300)
async def test_a_promoted_standby_is_gone_on_with_and_has_all_that_was_accepted(stage: Stage) -> None:
    poster = Poster(stage.processes.api_url)
    posting = asyncio.create_task(poster.post_on())
    await poster.until(202, more=40)

    await asyncio.to_thread(stage.pair.fail)
    await poster.until(503, more=10)
    await asyncio.to_thread(stage.pair.promote)
    stage.proxy.turn_to(stage.pair.standby.url)
    await poster.until(202, more=40)
    posting.cancel()

    assert {answer.status for answer in poster.answers} == {202, 503}
    assert all(answer.retry_after for answer in poster.having(503))
    assert max(answer.seconds for answer in poster.having(503)) < REFUSED_WITHIN + SLACK
    await all_ended_once(stage.processes, [str(answer.event_id) for answer in poster.having(202)])
    assert all(service.exit_code() is None for service in stage.processes.services.values())
    found = await audit(DatabaseSettings(url=SecretStr(stage.pair.standby.url)), grace=60.0, most=5, check_timeout=30.0)
    assert [finding for finding in found if finding.count] == []


async def all_ended_once(processes: System, event_ids: list[str]) -> None:
    """See that each event is there, has succeeded, and was completed by one attempt of each run."""
    async with httpx.AsyncClient(base_url=processes.api_url, timeout=20, trust_env=False) as client:
        for event_id in event_ids:
            event = await until(partial(ended, client, event_id), within=60.0)
            assert event["status"] == "succeeded", event
            for run in event["runs"]:
                assert [attempt["outcome"] for attempt in run["attempts"]].count("succeeded") == 1, run


async def ended(client: httpx.AsyncClient, event_id: str) -> dict[str, Any] | None:
    """Read an event that has ended, which must be there; a read may be refused once more after a failover."""
    response = await client.get(f"/events/{event_id}")
    assert response.status_code in {200, 503}, response.text
    event: dict[str, Any] = response.json()
    return event if event["status"] in FINAL else None
