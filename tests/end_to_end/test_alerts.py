import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from migrations import upgrade
from observability.alerts import TimeScale
from pipelines import PipelineRegistry
from settings import DatabaseSettings, Settings
from tests.support.otlp import OtlpReceiver
from tests.support.prometheus import Prometheus, prometheus
from tests.support.system import System, eventually, system
from throughline.cli.slo import plan_of
from throughline.embedded import EmbeddedPostgres, EmbeddedRedis, free_port

pytestmark = [pytest.mark.verify, pytest.mark.timeout(240)]

FLOWS = "tests.support.flows"
SCALE = 1 / 60
EVERY = "500ms"
SENDERS = 8
HEALTHY = 40
"""Scrapes of a healthy system: 20 s, which stand for 20 minutes."""
REDIS_DOWN, POSTGRES_DOWN = {"ThroughlineRedisDown"}, {"ThroughlinePostgresDown"}
"""Watched where the relay tells of them."""


class Stage:
    """The system, its addresses, and what is sent to it."""

    def __init__(self, whole: System, home: Path) -> None:
        self.whole = whole
        self._log = str(home / "calls")
        self._relay_port, self._worker_port = free_port(), free_port()

    @property
    def targets(self) -> dict[str, list[str]]:
        return {
            "throughline-api": [self.whole.api_url.removeprefix("http://")],
            "throughline-relay": [f"127.0.0.1:{self._relay_port}"],
            "throughline-worker": [f"127.0.0.1:{self._worker_port}"],
        }

    def start_relay(self) -> None:
        port = str(self._relay_port)
        self.whole.start("relay", ready=f"http://127.0.0.1:{port}/metrics", THROUGHLINE_RELAY_METRICS_PORT=port)

    def start_worker(self) -> None:
        port = str(self._worker_port)
        self.whole.start("worker", ready=f"http://127.0.0.1:{port}/metrics", THROUGHLINE_WORKER_METRICS_PORT=port)

    def send(self, type_: str, **data: float) -> None:
        self.whole.post({"type": type_, "data": {"log": self._log, **data}})

    @contextmanager
    def load(self) -> Iterator[None]:
        """Some twenty events a second, by senders that take a 503 for an answer."""
        stop = threading.Event()
        event = {"type": "test.prompt", "data": {"log": self._log}}

        def send() -> None:
            with httpx.Client(base_url=self.whole.api_url, timeout=10, trust_env=False) as client:
                while not stop.wait(SENDERS / 20):
                    assert client.post("/events", json=event).status_code in {202, 503}

        with ThreadPoolExecutor(SENDERS) as pool:
            sending = [pool.submit(send) for _ in range(SENDERS)]
            try:
                yield
            finally:
                stop.set()
                for one in sending:
                    one.result()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """One of the test's own: it is paused."""
    with EmbeddedRedis(tmp_path / "redis", log_file=tmp_path / "redis.log") as server:
        yield server


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """The same."""
    with EmbeddedPostgres(tmp_path / "postgres", log_file=tmp_path / "postgres.log") as server:
        upgrade(DatabaseSettings(url=SecretStr(server.url)))
        yield server


@pytest.fixture
def stage(postgres: EmbeddedPostgres, redis: EmbeddedRedis, receiver: OtlpReceiver, tmp_path: Path) -> Iterator[Stage]:
    settings = {
        "THROUGHLINE_TELEMETRY_ENDPOINT": receiver.endpoint,
        "THROUGHLINE_PIPELINES_MODULES": f'["{FLOWS}"]',
        "THROUGHLINE_REDIS_SOCKET_TIMEOUT": "1",
        "THROUGHLINE_WORKER_BLOCKED_LIMIT": "6",
    }
    with system(database_url=postgres.url, redis_url=redis.url, home=tmp_path, settings=settings) as whole:
        made = Stage(whole, tmp_path)
        whole.start_api()
        made.start_relay()
        made.start_worker()
        yield made


@pytest.fixture
def watching(stage: Stage, tmp_path: Path) -> Iterator[Prometheus]:
    plan = plan_of(PipelineRegistry.load([FLOWS]), Settings(), scale=TimeScale(SCALE))
    with prometheus(tmp_path / "prometheus", plan, targets=stage.targets, every=EVERY) as made:
        yield made


def test_faults_fire_their_alerts_which_resolve_and_health_fires_none(
    stage: Stage, watching: Prometheus, redis: EmbeddedRedis, postgres: EmbeddedPostgres
) -> None:
    """One after another, since a system is started once; at a sixtieth of the time that the rules have in earnest."""
    with stage.load():
        health_fires_none(watching)
        code_that_fails(stage, watching)
        code_that_is_tried_again(stage, watching)
        code_that_blocks(stage, watching)
        no_relay(stage, watching)
        no_worker(stage, watching)
        no_redis(redis, watching)
        no_postgres(postgres, watching)
    watching.resolves("ThroughlineDeadRunsGrow")
    watching.resolves("ThroughlineRetryStorm")
    watching.resolves("ThroughlineLoopBlocked")
    watching.resolves("ThroughlineBudgetBurnsFast", sli="execution", pipeline="refusing")
    assert watching.unhealthy() == []


def health_fires_none(watching: Prometheus) -> None:
    scraped = 'min(count_over_time(up{job=~"throughline-.+"}[1h]))'
    eventually(lambda: watching.value(scraped) >= HEALTHY, timeout=60.0, what="scrapes of a healthy system")
    assert watching.value('sum(throughline_slo_events_total{good="true",pipeline="prompt"})') > HEALTHY
    assert {labels["sli"] for labels in watching.query("throughline:slo_errors:ratio_rate5m == 0")} == {
        "ingest",
        "queueing",
        "execution",
    }
    assert watching.fired() == set()
    assert all("trace_id" in one for one in watching.exemplars("http_server_request_duration_seconds_bucket"))
    assert watching.exemplars("throughline_run_duration_seconds_bucket")


def code_that_fails(stage: Stage, watching: Prometheus) -> None:
    for _ in range(40):
        stage.send("test.refusing")
    burns = watching.awaits("ThroughlineBudgetBurnsFast", sli="execution", pipeline="refusing")
    assert burns["labels"]["severity"] == "page"
    assert burns["annotations"]["summary"] == (
        "The error budget for execution of refusing burns over 14.4 times too fast"
    )
    watching.awaits("ThroughlineDeadRunsGrow")


def code_that_is_tried_again(stage: Stage, watching: Prometheus) -> None:
    def storm() -> object:
        stage.send("test.steady", fail_attempts=2)
        return watching.firing("ThroughlineRetryStorm", pipeline="steady")

    eventually(storm, what="ThroughlineRetryStorm fires")


def code_that_blocks(stage: Stage, watching: Prometheus) -> None:
    stage.send("test.blocking", sleep=2.5)
    watching.awaits("ThroughlineLoopBlocked", pipeline="blocking", node="block")


def no_relay(stage: Stage, watching: Prometheus) -> None:
    stage.whole.stop("relay")
    watching.awaits("ThroughlineRelayStalled")
    watching.awaits("ThroughlineTargetDown", job="throughline-relay")
    stage.start_relay()
    watching.resolves("ThroughlineRelayStalled")
    watching.resolves("ThroughlineTargetDown")


def no_worker(stage: Stage, watching: Prometheus) -> None:
    stage.whole.services.pop("worker").kill()
    found = watching.awaits("ThroughlineNoWorker", queue="default")
    assert found["annotations"]["summary"] == "Nobody works on queue default"
    assert found["annotations"]["dashboard_url"].endswith("/d/throughline-queues?var-queue=default")
    watching.awaits("ThroughlineRunsWaitTooLong", queue="default")
    stage.start_worker()
    watching.resolves("ThroughlineNoWorker")
    watching.resolves("ThroughlineRunsWaitTooLong")


def no_redis(redis: EmbeddedRedis, watching: Prometheus) -> None:
    redis.pause()
    try:
        watching.awaits("ThroughlineRelayStalled")
        for alert in REDIS_DOWN & watching.watched():
            watching.awaits(alert)
    finally:
        redis.resume()
    for alert in REDIS_DOWN | {"ThroughlineRelayStalled"}:
        watching.resolves(alert)


def no_postgres(postgres: EmbeddedPostgres, watching: Prometheus) -> None:
    postgres.pause()
    try:
        watching.awaits("ThroughlineApiTurnsEventsAway")
        watching.awaits("ThroughlineBudgetBurnsFast", sli="ingest")
        for alert in POSTGRES_DOWN & watching.watched():
            watching.awaits(alert)
    finally:
        postgres.resume()
    for alert in POSTGRES_DOWN:
        watching.resolves(alert)
    watching.resolves("ThroughlineApiTurnsEventsAway")
    watching.resolves("ThroughlineBudgetBurnsFast", sli="ingest")
