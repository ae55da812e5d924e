"""A backlog of 200,000 runs while Redis fails in every way: what it holds stays bounded, and comes back by itself."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text

from storage.engine import transaction
from tests.support.relaying import World, until
from tests.support.tcp_proxy import Mode, TcpProxy, tcp_proxy
from throughline.embedded import EmbeddedRedis

DUE = 200_000
WINDOW = 2000
MOST = 1.2 * WINDOW
BACK_WITHIN = 30.0
QUEUE = "default"

_BACKLOG = """
    WITH made AS (
        INSERT INTO events (event_id, source, ce_id, type, data, content_hash, routes)
        SELECT gen_random_uuid(), 'test', n::text, 't', '{}', '\\x00', 1 FROM generate_series(1, :due) AS n
        RETURNING event_id
    ), queued AS (
        INSERT INTO runs (run_id, event_id, pipeline, pipeline_version, queue, reason)
        SELECT gen_random_uuid(), event_id, 'p', 1, 'default', 'accepted' FROM made
    )
    INSERT INTO run_deltas (accepted) VALUES (:due)
"""


@dataclass(slots=True)
class Gauge:
    """Counts the run ids that Redis holds, waiting or fetched and unacknowledged, straight from its messages."""

    redis: Redis
    samples: list[int] = field(default_factory=list)

    def run_ids(self) -> int:
        waiting = self.redis.lrange(QUEUE, 0, -1)
        fetched = [json.loads(raw)[0] for raw in self.redis.hvals("unacked")]
        messages = [*map(json.loads, waiting), *fetched]  # type: ignore[arg-type]  # sync client
        return sum(len(json.loads(base64.b64decode(message["body"]))[1]["run_ids"]) for message in messages)

    async def watch(self) -> None:
        """Sample for ever; what can't be asked is passed over."""
        while True:
            with suppress(RedisError, OSError):
                self.samples.append(await asyncio.to_thread(self.run_ids))
            await asyncio.sleep(0.2)

    async def full_again(self) -> float:
        """Wait until the window is filled; return how long that took."""
        began = time.monotonic()

        async def full() -> bool:
            try:
                return await asyncio.to_thread(self.run_ids) >= WINDOW * 7 // 8
            except (RedisError, OSError):
                return False

        await until(full, within=BACK_WITHIN)
        return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Stage:
    """A backlog, a Redis to break, and a proxy between it and the relays."""

    world: World
    server: EmbeddedRedis
    proxy: TcpProxy
    gauge: Gauge


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    with EmbeddedRedis(tmp_path) as server:
        async with tcp_proxy(server.url) as proxy, World(database_url=database_url, redis_url=proxy.url) as world:
            async with transaction(world.engine) as connection:
                await connection.execute(text("SET LOCAL statement_timeout = '120s'"))
                await connection.execute(text(_BACKLOG), {"due": DUE})
            with Redis.from_url(server.url, socket_timeout=2) as redis:
                yield Stage(world, server, proxy, Gauge(redis))


@asynccontextmanager
async def two_relays(world: World) -> AsyncIterator[None]:
    """As a deployment has them; what nobody claims is looked for every few seconds."""
    hurried: dict[str, object] = {"window": WINDOW, "republish_after": 3.0, "take_lease": 3.0}
    async with world.relay(relay=hurried), world.relay(relay=hurried):
        yield


async def killed(stage: Stage) -> None:
    """SIGKILL and a start over the append-only file."""
    await asyncio.to_thread(stage.server.kill)
    await asyncio.sleep(3)
    await asyncio.to_thread(stage.server.start)


async def emptied(stage: Stage) -> None:
    stage.gauge.redis.flushall()


async def paused(stage: Stage) -> None:
    """It keeps its connections and answers nothing, for longer than every timeout."""
    stage.server.pause()
    await asyncio.sleep(12)
    stage.server.resume()


async def refused(stage: Stage) -> None:
    stage.proxy.switch(Mode.REFUSE)
    await asyncio.sleep(6)
    stage.proxy.switch(Mode.PASS)


async def swallowed(stage: Stage) -> None:
    """Packets vanish both ways, as with a broken network."""
    stage.proxy.switch(Mode.SWALLOW)
    await asyncio.sleep(12)
    stage.proxy.switch(Mode.REFUSE)
    stage.proxy.switch(Mode.PASS)


async def full_of_others(stage: Stage) -> None:
    """It refuses every write for want of memory."""
    stage.gauge.redis.config_set("maxmemory", "1mb")
    await asyncio.sleep(6)
    stage.gauge.redis.config_set("maxmemory", "0")


async def lost(stage: Stage) -> None:
    """It dies and comes back without its data."""
    await asyncio.to_thread(stage.server.kill)
    for file in sorted(stage.server.working_folder.rglob("*"), reverse=True):
        if file.is_file():
            file.unlink()
    await asyncio.to_thread(stage.server.start)


FAULTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    killed,
    emptied,
    paused,
    refused,
    swallowed,
    full_of_others,
    lost,
)


@pytest.mark.verify
@pytest.mark.timeout(600)
async def test_redis_never_holds_much_more_than_the_window_and_fills_again_after_every_fault(stage: Stage) -> None:
    took: dict[str, float] = {}
    async with two_relays(stage.world):
        await stage.gauge.full_again()
        watching = asyncio.create_task(stage.gauge.watch())
        for fault in FAULTS:
            await fault(stage)
            took[fault.__name__] = await stage.gauge.full_again()
            await asyncio.sleep(8)  # longer than everything after which a relay would send again
        watching.cancel()
    assert max(stage.gauge.samples) <= MOST, (took, sorted(set(stage.gauge.samples)))
    assert len(stage.gauge.samples) > 100
    assert await stage.world.value("SELECT count(*) FROM runs WHERE status = 'queued'") == DUE
