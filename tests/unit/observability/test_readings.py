import threading

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from observability.metrics import BlockSource, Metrics, render


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def test_a_series_is_there_from_its_first_reading_until_it_is_forgotten(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    def read() -> float | None:
        return registry.get_sample_value("throughline_redis_up")

    assert read() is None
    metrics.redis_up.labels().set(0)
    assert read() == 0
    metrics.redis_up.clear()
    assert read() is None


def test_a_counter_shows_what_was_read_also_when_it_began_anew(registry: CollectorRegistry, metrics: Metrics) -> None:
    child = metrics.postgres_blocks.labels(source=BlockSource.DISK)
    for value in (7.0, 9.0, 2.0):
        child.set(value)
        assert registry.get_sample_value("throughline_postgres_blocks_total", {"source": "disk"}) == value


@pytest.mark.parametrize("accept", [None, "application/openmetrics-text;version=1.0.0"])
def test_both_formats_name_the_kinds(registry: CollectorRegistry, metrics: Metrics, accept: str | None) -> None:
    metrics.redis_evicted_keys.labels().set(3)
    metrics.redis_up.labels().set(1)
    body = render(registry, accept)[0].decode()
    assert "throughline_redis_evicted_keys_total 3.0\n" in body
    name = "throughline_redis_evicted_keys" + ("" if accept else "_total")
    assert f"# TYPE {name} counter\n" in body
    assert "# TYPE throughline_redis_up gauge\n" in body
    if accept:
        assert {"throughline_redis_up", name} <= {family.name for family in text_string_to_metric_families(body)}


def test_a_scrape_at_any_moment_is_whole(registry: CollectorRegistry, metrics: Metrics) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for table in ("runs", "events"):
                metrics.redis_queue_messages.labels(queue=table).set(1)
            metrics.redis_queue_messages.clear()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            render(registry, None)
    finally:
        stop.set()
        writer.join()
