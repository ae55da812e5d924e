import ast
import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from events import QueueReason
from observability.metrics import Metrics
from settings import Settings
from storage import claims, due
from storage.engine import transaction
from tests.support.relaying import TENANT, World, until
from tests.support.tcp_proxy import Mode, tcp_proxy
from worker.relay.marker import KEY


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with World(database_url=database_url, redis_url=redis_url) as world:
        yield world


def marker(world: World) -> int:
    return int(world.redis.get(KEY) or 0)


async def test_two_relays_send_each_run_of_a_backlog_once(world: World) -> None:
    run_ids = await world.store(1500)
    async with world.relay(), world.relay():
        await until(lambda: len(world.sent()) >= len(run_ids))
        assert Counter(world.sent()) == Counter(run_ids)
    assert Counter(world.sent()) == Counter(run_ids)


async def test_a_few_runs_go_alone_and_a_backlog_shares_messages(world: World) -> None:
    few = await world.store(4)
    async with world.relay():
        await until(lambda: len(world.sent()) == len(few))
        assert [len(message.run_ids) for message in world.messages()] == [1] * 4
    await world.store(1796)
    async with world.relay():
        await until(lambda: len(world.sent()) == 1800)
    assert max(len(message.run_ids) for message in world.messages()) == Settings().relay.message_max_runs


async def test_a_message_holds_one_pipelines_runs_and_goes_to_their_queue(world: World) -> None:
    wanted = {
        ("default", "p"): await world.store(40),
        ("default", "q"): await world.store(40, pipeline="q"),
        ("slow", "q"): await world.store(40, pipeline="q", queue="slow"),
    }
    async with world.relay():
        await until(lambda: len(world.sent()) + len(world.sent("slow")) == 120)
    found: dict[tuple[str, str], list[Any]] = {}
    for queue in ("default", "slow"):
        for message in world.messages(queue):
            assert message.kwargs["tenant"] == TENANT
            shown = ast.literal_eval(message.headers["kwargsrepr"])
            assert (shown["pipeline"], shown["runs"]) == (message.kwargs["pipeline"], len(message.run_ids))
            assert shown["run_ids"] == message.kwargs["run_ids"]
            found.setdefault((queue, message.kwargs["pipeline"]), []).extend(message.run_ids)
    assert {key: sorted(runs) for key, runs in found.items()} == {key: sorted(runs) for key, runs in wanted.items()}


async def test_no_more_than_the_window_lies_in_redis_and_what_is_claimed_makes_room(world: World) -> None:
    run_ids = set(await world.store(200))
    holder = await world.lease(seconds=600)
    most = 0
    claimed: set[UUID] = set()
    async with world.relay(relay={"window": 20}), world.relay(relay={"window": 20}):
        deadline = time.monotonic() + 30
        while claimed != run_ids:
            assert time.monotonic() < deadline, f"{len(claimed)} of {len(run_ids)} claimed"
            waiting = set(world.sent()) - claimed
            most = max(most, len(waiting))
            claimed |= {run.run_id for run in await world.claim(holder, sorted(waiting)[:7])}
            await asyncio.sleep(0.01)
    assert 20 <= most <= 24
    assert Counter(world.sent()) == Counter(run_ids)


async def test_a_notification_wakes_the_relay_long_before_it_polls(world: World) -> None:
    async with world.relay(relay={"poll_interval": 30.0}):
        listening = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'throughline-relay-listen' AND query ILIKE 'LISTEN%'"
        )
        await until(lambda: world.value(listening))
        await until(lambda: world.redis.exists(KEY))
        (run_id,) = await world.store()
        began = time.monotonic()
        await world.notify()
        await until(lambda: world.sent() == [run_id])
        assert time.monotonic() - began < 1.0


async def test_the_listener_comes_back_when_its_connection_is_ended(world: World) -> None:
    pids = (
        "SELECT coalesce(max(pid), 0) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'throughline-relay-listen'"
    )
    async with world.relay(relay={"poll_interval": 30.0}):
        first = await until(lambda: world.value(pids))
        await world.value("SELECT pg_terminate_backend(:pid)", pid=first)

        async def another() -> bool:
            return (await world.value(pids)) not in {0, first}

        await until(another)
        (run_id,) = await world.store()
        await world.notify()
        await until(lambda: world.sent() == [run_id], within=5.0)


async def test_without_notifications_polling_finds_what_is_due(world: World) -> None:
    async with world.relay(relay={"poll_interval": 0.2}):
        await until(lambda: world.redis.exists(KEY))
        (run_id,) = await world.store()
        await until(lambda: world.sent() == [run_id], within=3.0)


async def test_a_delayed_run_is_sent_when_it_is_due_and_not_before(world: World) -> None:
    (run_id,) = await world.store()
    async with transaction(world.engine) as connection:
        await claims.defer_runs(
            connection, tenant=TENANT, run_ids=[run_id], delay=0.7, reason=QueueReason.UNKNOWN_PIPELINE
        )
    async with world.relay(relay={"poll_interval": 30.0}):
        await until(lambda: world.sent() == [run_id], within=5.0)
        late = await world.value("SELECT extract(epoch FROM published_at - available_at)::float8 FROM runs")
    assert 0 <= late < 0.5


async def test_what_a_dead_relay_had_taken_is_sent_when_its_taking_ends(world: World) -> None:
    async with world.relay():
        await until(lambda: world.redis.exists(KEY))
    run_ids = await world.store(10)
    async with transaction(world.engine) as connection:
        taken, runs = await due.take_due(connection, "default", most=100, lease=1.0)
    assert [run.run_id for run in runs] == sorted(run_ids)
    assert world.sent() == []
    async with world.relay():
        await until(lambda: len(world.sent()) >= 10, within=5.0)
        early = await world.value("SELECT min(extract(epoch FROM published_at - :at))::float8 FROM runs", at=taken.at)
    assert Counter(world.sent()) == Counter(run_ids)
    assert early >= 1.0


async def test_what_was_sent_and_not_claimed_is_left_alone_beyond_the_takings_lease(world: World) -> None:
    run_ids = await world.store(50)
    kept = "SELECT count(*) FROM runs WHERE publish_at > now() + interval '20 seconds'"
    async with world.relay(relay={"take_lease": 1.5, "republish_after": 60.0}):

        async def all_kept() -> bool:
            return int(await world.value(kept)) == len(run_ids)

        await until(all_kept, within=5.0)
    assert Counter(world.sent()) == Counter(run_ids)


async def test_a_relay_that_stops_leaves_what_it_sent_alone(world: World) -> None:
    run_ids = await world.store(50)
    async with world.relay(relay={"take_lease": 5.0, "republish_after": 60.0}):
        await until(lambda: len(world.sent()) == len(run_ids))
        await until(lambda: world.redis.exists(KEY))
    kept = await world.value("SELECT count(*) FROM runs WHERE publish_at > now() + interval '20 seconds'")
    assert kept == len(run_ids)


async def test_what_somebody_fetched_and_nobody_claims_is_sent_again_after_its_time(world: World) -> None:
    run_ids = await world.store(40)
    async with world.relay(relay={"take_lease": 0.3, "republish_after": 0.5}):
        await until(lambda: len(world.sent()) == len(run_ids))
        fetched = world.fetch()
        await until(lambda: set(world.sent()) == set(run_ids), within=5.0)
    assert Counter(world.sent()) == Counter(run_ids)
    assert set(fetched) < set(run_ids)


async def test_what_nobody_comes_for_is_never_sent_twice(world: World) -> None:
    run_ids = await world.store(40)
    looks = "SELECT count(*) FROM runs WHERE publish_at > published_at + interval '2 seconds'"
    async with world.relay(relay={"take_lease": 0.3, "republish_after": 0.4}):

        async def was_kept_several_times() -> bool:
            return int(await world.value(looks)) == len(run_ids)

        await until(was_kept_several_times, within=8.0)
    assert Counter(world.sent()) == Counter(run_ids)


async def test_what_a_wedged_redis_did_after_all_is_not_sent_again(database_url: str, redis_url: str) -> None:
    """The messages went through and their answer didn't: nobody can know until Redis is asked."""
    async with tcp_proxy(redis_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        away = {"url": type(world.settings.redis.url)(proxy.url), "socket_timeout": 0.5, "connect_timeout": 0.5}
        registry = CollectorRegistry()
        async with world.relay(redis=away, metrics=Metrics(registry)):
            await until(lambda: world.redis.exists(KEY))
            proxy.switch(Mode.LOSE_PUSH_ANSWER)
            run_ids = await world.store(100)
            await world.notify()
            await until(lambda: registry.get_sample_value("throughline_publish_errors_total", {"queue": "default"}))
            proxy.switch(Mode.PASS)
            (later,) = await world.store()
            await until(lambda: later in world.sent(), within=8.0)
            await until(lambda: set(world.sent()) == {*run_ids, later}, within=8.0)
        assert Counter(world.sent()) == Counter([*run_ids, later])


@pytest.mark.parametrize("relays", [1, 2])
async def test_emptying_redis_sends_the_whole_window_again_once(world: World, relays: int) -> None:
    run_ids = await world.store(300)
    holder = await world.lease(seconds=600)
    async with AsyncExitStack() as stack:
        for _ in range(relays):
            await stack.enter_async_context(world.relay())
        await until(lambda: len(world.sent()) == len(run_ids))
        claimed = [run.run_id for run in await world.claim(holder, run_ids[:100])]
        world.redis.flushdb()
        await until(lambda: set(world.sent()) == set(run_ids) - set(claimed), within=4.0)
        seen = marker(world)
        await until(lambda: marker(world) > seen > 1 << 20)
        (later,) = await world.store()
        await until(lambda: later in world.sent())
    assert Counter(world.sent()).total() == 201


async def test_what_was_missed_before_the_loss_was_noticed_is_not_sent_once_more_for_it(world: World) -> None:
    """Overdue runs are looked for more often than the marker: an emptied Redis is found out twice."""
    run_ids = await world.store(300)
    async with world.relay(relay={"take_lease": 0.3, "republish_after": 0.3}):
        await until(lambda: len(world.sent()) == len(run_ids))
        await until(lambda: marker(world))
        world.redis.flushdb()
        await until(lambda: marker(world) > 1 << 20, within=5.0)
        (later,) = await world.store()
        await until(lambda: set(world.sent()) == {*run_ids, later}, within=5.0)
        await until(lambda: world.value("SELECT count(*) = 301 FROM runs WHERE publish_at > now()"), within=5.0)
    assert Counter(world.sent()) == Counter([*run_ids, later])


async def test_the_first_start_sends_nothing_twice(world: World) -> None:
    run_ids = await world.store(20)
    async with world.relay():
        await until(lambda: world.redis.exists(KEY))
        await until(lambda: len(world.sent()) == 20)
    async with world.relay():
        later = await world.store()
        await until(lambda: later[0] in world.sent())
    assert Counter(world.sent()) == Counter(run_ids + later)


@pytest.mark.parametrize("fault", [Mode.REFUSE, Mode.SWALLOW])
async def test_with_redis_away_nothing_is_lost_and_all_of_it_is_sent_soon_after_it_is_back(
    database_url: str, redis_url: str, fault: Mode
) -> None:
    async with tcp_proxy(redis_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        away = {"url": type(world.settings.redis.url)(proxy.url), "socket_timeout": 0.5, "connect_timeout": 0.5}
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        async with world.relay(redis=away, metrics=metrics):
            first = await world.store(10)
            sent = ("throughline_published_total", {"queue": "default"})
            await until(lambda: registry.get_sample_value(*sent) == 10)
            proxy.switch(fault)
            run_ids = first + await world.store(500)
            await world.notify()

            async def waiting() -> bool:
                soon = "SELECT count(*) FROM runs WHERE publish_at < now() + interval '2 seconds'"
                return int(await world.value(soon)) == 500

            await until(lambda: registry.get_sample_value("throughline_publish_errors_total", {"queue": "default"}))
            await until(waiting)
            (later,) = await world.store()
            proxy.switch(Mode.PASS)
            await until(lambda: set(world.sent()) == {*run_ids, later}, within=8.0)
        assert Counter(world.sent()).total() <= 530


async def test_what_waits_for_a_redis_that_was_never_there_is_counted_as_not_sent(
    database_url: str, redis_url: str
) -> None:
    """Nothing is taken for it, so nothing fails by itself."""
    async with tcp_proxy(redis_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        proxy.switch(Mode.REFUSE)
        registry = CollectorRegistry()
        errors = ("throughline_publish_errors_total", {"queue": "default"})
        async with world.relay(redis={"url": SecretStr(proxy.url)}, metrics=Metrics(registry)):
            await until(lambda: registry.get_sample_value("throughline_redis_up") == 0)
            assert not registry.get_sample_value(*errors)
            await world.store()
            await until(lambda: registry.get_sample_value(*errors))
        assert world.sent() == []


async def test_a_wedged_redis_holds_up_publishing_alone(database_url: str, redis_url: str) -> None:
    async with tcp_proxy(redis_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        wedged = {"url": type(world.settings.redis.url)(proxy.url), "socket_timeout": 30.0}
        (run_id,) = await world.store()
        holder = await world.lease(seconds=0.5)
        await world.claim(holder, [run_id])
        await world.store(3)
        proxy.switch(Mode.SWALLOW)
        async with world.relay(redis=wedged, worker={"lease": 0.5}):
            rescued = "SELECT count(*) FROM runs WHERE deaths = 1 AND status = 'queued'"
            await until(lambda: world.value(rescued), within=8.0)
            began = time.monotonic()
        assert time.monotonic() - began < 2.5
        assert world.sent() == []


async def test_the_relay_goes_on_when_postgresql_is_back(database_url: str, redis_url: str) -> None:
    async with tcp_proxy(database_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        through = {"url": type(world.settings.database.url)(proxy.url)}
        async with world.relay(database=through):
            (first,) = await world.store()
            await until(lambda: world.sent() == [first])
            proxy.switch(Mode.REFUSE)
            (second,) = await world.store()
            await asyncio.sleep(1.0)
            assert world.sent() == [first]
            proxy.switch(Mode.PASS)
            await until(lambda: world.sent() == [first, second], within=8.0)


async def test_a_postgresql_that_falls_silent_holds_up_the_relay_no_longer_than_a_statement_may_take(
    database_url: str, redis_url: str
) -> None:
    """A vanished server closes no connection: without limits of its own the relay would wait for many minutes."""
    async with tcp_proxy(database_url) as proxy, World(database_url=database_url, redis_url=redis_url) as world:
        through = {
            "url": type(world.settings.database.url)(proxy.url),
            "statement_timeout": 0.5,
            "connect_timeout": 0.5,
            "pool_timeout": 0.5,
        }
        async with world.relay(database=through):
            (first,) = await world.store()
            await until(lambda: world.sent() == [first])
            proxy.switch(Mode.SWALLOW)
            (second,) = await world.store()
            await asyncio.sleep(1.5)  # every part of the relay has a statement under way
            proxy.switch(Mode.PASS)
            await until(lambda: world.sent() == [first, second], within=12.0)
            began = time.monotonic()
        assert time.monotonic() - began < 3.0


async def test_it_shows_where_the_queues_stand(world: World) -> None:
    registry = CollectorRegistry()
    await world.store(30)
    async with world.relay(relay={"window": 10}, metrics=Metrics(registry)):

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(f"throughline_{name}", labels)

        await until(lambda: value("published_total", queue="default") == 10)
        await until(lambda: value("queue_depth", queue="default", state="due") == 30)
        await until(lambda: value("relay_last_pass_timestamp_seconds"))
        assert value("dead_runs") == 0
        assert value("unrouted_events") == 0
