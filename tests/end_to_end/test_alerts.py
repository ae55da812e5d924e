"""Alerts of code and of processes, on the running system: each fires for its fault and resolves after it.

The stores' and the account's are in ``test_alerts_stores``, those of busy and of dying workers in
``test_alerts_workers``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from migrations import upgrade
from settings import DatabaseSettings
from tests.support.otlp import OtlpReceiver
from tests.support.prometheus import Prometheus
from tests.support.stage import Stage, shows, staged
from tests.support.system import eventually
from throughline.embedded import EmbeddedPostgres, EmbeddedRedis

pytestmark = [pytest.mark.verify, pytest.mark.timeout(480)]

HEALTHY = 40
"""Scrapes of a healthy system: 20 s, which stand for 20 minutes."""


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
    settings = {"THROUGHLINE_REDIS_SOCKET_TIMEOUT": "1", "THROUGHLINE_WORKER_BLOCKED_LIMIT": "6"}
    with staged(tmp_path, database_url=postgres.url, redis_url=redis.url, receiver=receiver, **settings) as made:
        yield made


@pytest.fixture
def watching(stage: Stage, tmp_path: Path) -> Iterator[Prometheus]:
    with stage.watching(tmp_path / "prometheus") as made:
        yield made


def test_faults_fire_their_alerts_which_resolve_and_health_fires_none(
    stage: Stage, watching: Prometheus, redis: EmbeddedRedis, postgres: EmbeddedPostgres
) -> None:
    """One after another, since a system is started once; at a sixtieth of the time that the rules have in earnest."""
    with stage.load(stage.event("prompt"), senders=8, every=0.4):
        health_fires_none(watching)
        code_that_fails(stage, watching)
        code_that_blocks(stage, watching)
        code_that_is_tried_again(stage, watching)
        watching.awaits("ThroughlineDeadRunsGrow")
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
    assert {labels["sli"] for labels in watching.labels("throughline:slo_errors:ratio_rate5m == 0")} == {
        "ingest",
        "queueing",
        "execution",
    }
    assert watching.fired() == set()
    assert all("trace_id" in one for one in watching.exemplars("http_server_request_duration_seconds_bucket"))
    assert watching.exemplars("throughline_run_duration_seconds_bucket")


def code_that_fails(stage: Stage, watching: Prometheus) -> None:
    for _ in range(40):
        stage.send("refusing")
    burns = watching.awaits("ThroughlineBudgetBurnsFast", sli="execution", pipeline="refusing")
    assert burns["labels"]["severity"] == "page"
    assert burns["annotations"]["summary"] == (
        "The error budget for execution of refusing burns over 14.4 times too fast"
    )


def code_that_is_tried_again(stage: Stage, watching: Prometheus) -> None:
    def storm() -> object:
        stage.send("steady", fail_attempts=2)
        return watching.firing("ThroughlineRetryStorm", pipeline="steady")

    eventually(storm, what="ThroughlineRetryStorm fires")


def code_that_blocks(stage: Stage, watching: Prometheus) -> None:
    stage.send("blocking", sleep=2.5)
    watching.awaits("ThroughlineLoopBlocked", pipeline="blocking", node="block")
    shows(watching, "Blocked event loops")


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
    watching.awaits("ThroughlineSloNotMeasured", sli="execution", pipeline="prompt")
    stage.start_worker()
    watching.resolves("ThroughlineNoWorker")
    watching.resolves("ThroughlineRunsWaitTooLong")
    watching.resolves("ThroughlineSloNotMeasured")


def no_redis(redis: EmbeddedRedis, watching: Prometheus) -> None:
    redis.pause()
    try:
        watching.awaits("ThroughlineRelayStalled")
        watching.awaits("ThroughlineRedisDown")
    finally:
        redis.resume()
    watching.resolves("ThroughlineRedisDown")
    watching.resolves("ThroughlineRelayStalled")


def no_postgres(postgres: EmbeddedPostgres, watching: Prometheus) -> None:
    postgres.pause()
    try:
        watching.awaits("ThroughlineApiTurnsEventsAway")
        watching.awaits("ThroughlineBudgetBurnsFast", sli="ingest")
        watching.awaits("ThroughlinePostgresDown")
    finally:
        postgres.resume()
    watching.resolves("ThroughlinePostgresDown")
    watching.resolves("ThroughlineApiTurnsEventsAway")
    watching.resolves("ThroughlineBudgetBurnsFast", sli="ingest")
