import re
import threading

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from observability.metrics import (
    EventOutcome,
    Metrics,
    NodeOutcome,
    QueueState,
    RunOutcome,
    catalogue,
    event_type_label,
    method_label,
    null_metrics,
    render,
)
from observability.tracing import accept_span, configure_tracing, trace_id_of, traceparent_of
from settings import TelemetrySettings

_OPENMETRICS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def test_each_declared_metric_exists_under_its_name_from_the_start(registry: CollectorRegistry) -> None:
    Metrics(registry)
    body = render(registry, None)[0].decode()
    for item in catalogue:
        assert f"# TYPE {item.name} {item.kind}\n" in body


def test_what_is_counted_is_served_with_its_labels(registry: CollectorRegistry, metrics: Metrics) -> None:
    for _ in range(2):
        metrics.events.labels(type="github.issues", outcome=EventOutcome.ACCEPTED).inc()
    metrics.published.labels(queue="default").inc(50)
    metrics.node_duration.labels(pipeline="p", node="n", outcome=NodeOutcome.FAILED).observe(0.3)
    value = registry.get_sample_value
    assert value("throughline_events_total", {"type": "github.issues", "outcome": "accepted"}) == 2
    assert value("throughline_published_total", {"queue": "default"}) == 50
    labels = {"pipeline": "p", "node": "n", "outcome": "failed"}
    assert value("throughline_node_duration_seconds_sum", labels) == pytest.approx(0.3)
    assert value("throughline_node_duration_seconds_bucket", labels | {"le": "0.25"}) == 0
    assert value("throughline_node_duration_seconds_bucket", labels | {"le": "0.5"}) == 1


def test_a_queue_that_is_gone_is_not_reported_for_ever(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.queue_depth.labels(queue="old", state=QueueState.DUE).set(7)
    metrics.queue_depth.clear()
    metrics.queue_depth.labels(queue="new", state=QueueState.DUE).set(1)
    value = registry.get_sample_value
    assert value("throughline_queue_depth", {"queue": "old", "state": "due"}) is None
    assert value("throughline_queue_depth", {"queue": "new", "state": "due"}) == 1


def test_two_processes_worth_of_metrics_do_not_mix() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    Metrics(one).stale_writes.labels().inc()
    Metrics(other)
    null_metrics().stale_writes.labels().inc()
    assert one.get_sample_value("throughline_stale_writes_total") == 1
    assert other.get_sample_value("throughline_stale_writes_total") == 0


def test_counting_from_many_threads_loses_nothing(registry: CollectorRegistry, metrics: Metrics) -> None:
    def count() -> None:
        for _ in range(1000):
            metrics.runs.labels(pipeline="p", outcome=RunOutcome.SUCCEEDED).inc()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get_sample_value("throughline_runs_total", {"pipeline": "p", "outcome": "succeeded"}) == 4000


def _exemplars(registry: CollectorRegistry, name: str) -> list[str]:
    body, content_type = render(registry, _OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    return [
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]  # it has no annotations
        for sample in family.samples
        if sample.name == f"{name}_bucket" and sample.exemplar
    ]


@pytest.mark.usefixtures("spans")
def test_an_observation_inside_a_sampled_span_leads_to_its_trace(registry: CollectorRegistry, metrics: Metrics) -> None:
    with accept_span("e", "t", tenant="x"):
        metrics.run_duration.labels(pipeline="p", outcome=RunOutcome.SUCCEEDED).observe(0.2)
        expected = trace_id_of(traceparent_of())
    assert _exemplars(registry, "throughline_run_duration_seconds") == [expected]


def test_an_observation_can_name_its_trace_when_the_span_has_ended(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.run_end_to_end.labels(pipeline="p", outcome=RunOutcome.FAILED).observe(4, trace_id="ab" * 16)
    assert _exemplars(registry, "throughline_run_end_to_end_seconds") == ["ab" * 16]


def test_there_is_no_exemplar_for_a_trace_that_nobody_keeps(
    registry: CollectorRegistry, metrics: Metrics, spans: InMemorySpanExporter
) -> None:
    configure_tracing(TelemetrySettings(), service="test")
    child = metrics.run_duration.labels(pipeline="p", outcome=RunOutcome.SUCCEEDED)
    with accept_span("e", "t", tenant="x"):
        child.observe(0.2)
    child.observe(0.2)
    assert not spans.get_finished_spans()
    assert _exemplars(registry, "throughline_run_duration_seconds") == []


@pytest.mark.usefixtures("spans")
def test_the_plain_format_is_answered_without_exemplars_to_whoever_asks_for_it(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    with accept_span("e", "t", tenant="x"):
        metrics.run_duration.labels(pipeline="p", outcome=RunOutcome.SUCCEEDED).observe(0.2)
    for accept in (None, "", "*/*", "text/plain"):
        body, content_type = render(registry, accept)
        assert content_type.startswith("text/plain")
        assert b"trace_id" not in body


@pytest.mark.parametrize(
    ("event_type", "label"),
    [
        ("orders.placed", "orders.placed"),
        ("github.issues", "github.issues"),
        ("github.pull_request", "github.*"),
        ("github.team.added", "github.team.*"),
        ("githubber.x", "other"),
        ("made.up", "other"),
        ("", "other"),
    ],
)
def test_a_client_cannot_make_series_by_inventing_types(event_type: str, label: str) -> None:
    known = frozenset({"orders.placed", "github.issues", "github.*", "github.team.*"})
    assert event_type_label(event_type, known) == label


def test_a_client_cannot_make_series_by_inventing_methods() -> None:
    assert [method_label(method) for method in ("POST", "post", "BREW")] == ["POST", "_OTHER", "_OTHER"]


def test_a_latency_in_the_catalogue_reaches_beyond_what_the_settings_allow_to_wait() -> None:
    bounds = {item.name: item.buckets for item in catalogue if item.buckets}
    assert bounds["http_server_request_duration_seconds"][-1] == 10
    assert bounds["throughline_run_queue_wait_seconds"][-1] == 1800
    assert bounds["throughline_run_duration_seconds"][-1] == 600
    assert all(re.fullmatch(r"[0-9.e+-]+", str(bound)) for bounds_ in bounds.values() for bound in bounds_)
