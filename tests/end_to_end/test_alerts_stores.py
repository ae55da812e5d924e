"""Alerts of the stores, the account, the API, telemetry and slow burns, on the running system: fire, and resolve.

Faults that leave one another alone are there at once.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from psycopg.errors import DeadlockDetected
from pydantic import SecretStr
from redis import Redis

from migrations import upgrade
from settings import DatabaseSettings
from tests.support.otlp import OtlpReceiver
from tests.support.prometheus import Prometheus
from tests.support.stage import Stage, shows, staged
from tests.support.system import eventually
from throughline.embedded import EmbeddedPostgres, EmbeddedRedis

pytestmark = [pytest.mark.verify, pytest.mark.timeout(480)]

DAYS = 1 / 900
"""The scale for burns over days: six hours are 24 s."""
SLOW_BURNS = ("ThroughlineBudgetBurns", "ThroughlineBudgetBurnsSlowly", "ThroughlineBudgetRunsOut")
STEADY = {"sli": "execution", "pipeline": "steady"}
MEGABYTE = 2**20
MEMORY = 32 * MEGABYTE
ROLE = "reader"


@dataclass(frozen=True)
class Scene:
    """``watching`` is a Prometheus at a sixtieth of the time, ``days`` one for burns over days."""

    stage: Stage
    postgres: EmbeddedPostgres
    redis: "Redis[bytes]"
    watching: Prometheus
    days: Prometheus


@pytest.fixture
def scene(receiver: OtlpReceiver, tmp_path: Path) -> Iterator[Scene]:
    """The system over servers of its own, whose API has a role of its own, as an operator would give it."""
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis(tmp_path / "redis", log_file=tmp_path / "redis.log"))
        postgres = EmbeddedPostgres(
            tmp_path / "postgres", log_file=tmp_path / "postgres.log", settings={"max_connections": "60"}
        )
        stack.enter_context(postgres)
        upgrade(DatabaseSettings(url=SecretStr(postgres.url)))
        postgres.psql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'; GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}")
        netloc = f"{ROLE}:{ROLE}@{urlsplit(postgres.url).netloc.rpartition('@')[2]}"
        made = staged(
            tmp_path,
            database_url=postgres.url,
            redis_url=redis.url,
            receiver=receiver,
            api={"THROUGHLINE_DATABASE_URL": urlsplit(postgres.url)._replace(netloc=netloc).geturl()},
        )
        stage = stack.enter_context(made)
        yield Scene(
            stage,
            postgres,
            stack.enter_context(Redis.from_url(redis.url)),
            stack.enter_context(stage.watching(tmp_path / "prometheus")),
            stack.enter_context(stage.watching(tmp_path / "days", scale=DAYS, only="slo.yml")),
        )


def test_faults_of_the_stores_and_the_account_fire_their_alerts_which_resolve(scene: Scene) -> None:
    """All of them at once: those first whose alerts end by themselves, which are seen first as well."""
    watching, days = scene.watching, scene.days
    with ExitStack() as faults:
        for fault in FAULTS.values():
            faults.enter_context(fault(scene))
        with some_runs_fail(scene):
            for alert in FAULTS:
                watching.awaits(alert)
            for alert in SLOW_BURNS:
                days.awaits(alert, **STEADY)
            assert watching.firing("ThroughlineBudgetBurnsFast", **STEADY) == []
            assert {watching.times_fired(alert) for alert in FAULTS} == {1}
        shows(watching, "Dropped by reason")
        shows(watching, "Server errors by route")
    redis_refuses_messages(scene)
    redis_evicts(scene)
    for alert in (*FAULTS, *REDIS):
        watching.resolves(alert)
    for alert in SLOW_BURNS:
        days.resolves(alert, **STEADY)
    assert watching.fired() - CONSEQUENCES == {*FAULTS, *REDIS}
    assert watching.unhealthy() == days.unhealthy() == []


@contextmanager
def some_runs_fail(scene: Scene) -> Iterator[None]:
    """A tenth of them: ten times the budget."""
    good, bad = scene.stage.event("steady"), scene.stage.event("steady", fail_attempts=3)
    with scene.stage.load(*[good] * 27, *[bad] * 3):
        yield


@contextmanager
def nobody_takes_events(scene: Scene) -> Iterator[None]:
    for _ in range(3):
        scene.stage.whole.post({"type": "nobody.asked", "data": {}})
    yield


@contextmanager
def a_run_is_deleted(scene: Scene) -> Iterator[None]:
    """One that waits for its next try; afterwards it is put back."""
    event_id = scene.stage.send("busy")
    eventually(lambda: scene.stage.whole.get(event_id)["runs"][0]["attempts"], what="a first try")
    eventually(lambda: scene.stage.whole.get(event_id)["status"] == "queued", what="a run that waits")
    with scene.stage.session() as session:
        session.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM runs LIMIT 0")
        session.execute("INSERT INTO kept SELECT * FROM runs WHERE event_id = %s", [event_id])
        session.execute("DELETE FROM runs WHERE event_id = %s", [event_id])
        yield
        session.execute("INSERT INTO runs SELECT * FROM kept")


@contextmanager
def a_transaction_stays_open(scene: Scene) -> Iterator[None]:
    with scene.stage.session() as session, session.transaction():
        session.execute("SELECT FROM events LIMIT 1")
        yield


@contextmanager
def connections_are_used_up(scene: Scene) -> Iterator[None]:
    used = """
        SELECT (SELECT sum(numbackends) FROM pg_stat_database) / (
            current_setting('max_connections')::float - current_setting('superuser_reserved_connections')::float
        )
    """
    with ExitStack() as stack:
        session = stack.enter_context(scene.stage.session())
        while session.execute(used).fetchone()[0] < 0.9:  # type: ignore[index]  # a row there is
            stack.enter_context(scene.stage.session())
        yield


@contextmanager
def redis_is_filled(scene: Scene) -> Iterator[None]:
    """By somebody else."""
    redis = scene.redis
    redis.config_set("maxmemory", MEMORY)
    while redis.info("memory")["used_memory"] < 0.9 * MEMORY:
        fill(redis)
    yield
    redis.config_set("maxmemory", 0)
    redis.delete(*redis.scan_iter("ballast:*"))


@contextmanager
def the_collector_refuses_spans(scene: Scene) -> Iterator[None]:
    scene.stage.receiver.status = 403
    yield
    scene.stage.receiver.status = 200


@contextmanager
def sessions_deadlock(scene: Scene) -> Iterator[None]:
    """Four times, soon after one another."""
    events = [scene.stage.send("prompt") for _ in range(2)]
    assert sum(deadlocks(scene, *events) for _ in range(4)) == 4
    yield


@contextmanager
def reading_lacks_a_privilege(scene: Scene) -> Iterator[None]:
    """One that reading an event takes, and nothing else that the API does."""
    url = f"/events/{scene.stage.send('prompt')}"

    def read(client: httpx.Client) -> None:
        assert client.get(url).status_code == 500

    scene.postgres.psql(f"REVOKE SELECT ON node_results FROM {ROLE}")
    with scene.stage.repeated(read, every=0.1):
        yield
    scene.postgres.psql(f"GRANT SELECT ON node_results TO {ROLE}")
    scene.stage.whole.get(url.removeprefix("/events/"))


FAULTS: dict[str, Callable[[Scene], AbstractContextManager[None]]] = {
    "ThroughlinePostgresDeadlocks": sessions_deadlock,
    "ThroughlineUnroutedEventsGrow": nobody_takes_events,
    "ThroughlineAccountingOff": a_run_is_deleted,
    "ThroughlinePostgresLongTransaction": a_transaction_stays_open,
    "ThroughlinePostgresConnectionsFull": connections_are_used_up,
    "ThroughlineRedisMemoryFull": redis_is_filled,
    "ThroughlineSpansDropped": the_collector_refuses_spans,
    "ThroughlineApiErrors": reading_lacks_a_privilege,
}
REDIS = ("ThroughlinePublishErrors", "ThroughlineRedisEvicts")
CONSEQUENCES = {"ThroughlineDeadRunsGrow", *SLOW_BURNS}
"""Of the runs that fail."""


def fill(redis: "Redis[bytes]") -> None:
    redis.set(f"ballast:{uuid4()}", b"x" * MEGABYTE)


def redis_refuses_messages(scene: Scene) -> None:
    """It is given less memory than it uses, and may not evict."""
    with redis_is_filled(scene), scene.stage.load(scene.stage.event("prompt"), senders=4, every=0.1):
        scene.redis.config_set("maxmemory", MEMORY // 2)
        scene.watching.awaits("ThroughlinePublishErrors", queue="default")
        shows(scene.watching, "Messages that could not be sent")


def redis_evicts(scene: Scene) -> None:
    with redis_is_filled(scene):
        scene.redis.config_set("maxmemory-policy", "allkeys-lru")
        for _ in range(2 * MEMORY // MEGABYTE):  # what a rewrite of its log takes is used, and no reason to evict
            if scene.redis.info("stats")["evicted_keys"]:
                break
            fill(scene.redis)
        scene.watching.awaits("ThroughlineRedisEvicts")
        scene.redis.config_set("maxmemory-policy", "noeviction")


def deadlocks(scene: Scene, first: str, second: str) -> int:
    """Lock two rows crosswise; return how many of the two sessions PostgreSQL ended for it."""
    lock = "SELECT FROM events WHERE event_id = %s FOR UPDATE"
    with scene.stage.session() as one, scene.stage.session() as other, ThreadPoolExecutor(1) as pool:
        for session, event in ((one, first), (other, second)):
            session.execute("SET deadlock_timeout = '50ms'")
            session.execute("BEGIN")
            session.execute(lock, [event])
        crossing = pool.submit(one.execute, lock, [second])
        ended = 0
        try:
            other.execute(lock, [first])
        except DeadlockDetected:
            ended += 1
        other.execute("ROLLBACK")
        ended += isinstance(crossing.exception(), DeadlockDetected)
        one.execute("ROLLBACK")
    return ended
