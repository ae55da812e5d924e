"""Every metric, declared once. Never an id, a host or an exception's text as a label."""

from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry

from observability.metrics.families import Counter, Declaration, Gauge, Histogram, no_labels
from observability.metrics.labels import (
    AccountState,
    DropReason,
    EventOutcome,
    NodeOutcome,
    PutOff,
    QueueState,
    RunOutcome,
    Sli,
    SlotState,
    VersionOutcome,
    WaitEnd,
)
from observability.metrics.stores import StoreMetrics

HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
WORK_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
WAIT_SECONDS: Final = (*WORK_SECONDS, 1800.0)
FLUSH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


def _request(*, http_request_method: str, http_route: str, http_response_status_code: str) -> tuple[str, ...]:
    return (http_request_method, http_route, http_response_status_code)


def _event(*, type: str, outcome: EventOutcome) -> tuple[str, ...]:  # noqa: A002 - the label's name
    return (type, outcome)


def _pipeline(*, pipeline: str) -> tuple[str, ...]:
    return (pipeline,)


def _pipeline_outcome(*, pipeline: str, outcome: RunOutcome) -> tuple[str, ...]:
    return (pipeline, outcome)


def _node(*, pipeline: str, node: str, outcome: NodeOutcome) -> tuple[str, ...]:
    return (pipeline, node, outcome)


def _pipeline_node(*, pipeline: str, node: str) -> tuple[str, ...]:
    return (pipeline, node)


def _queue(*, queue: str) -> tuple[str, ...]:
    return (queue,)


def _queue_state(*, queue: str, state: QueueState) -> tuple[str, ...]:
    return (queue, state)


def _put_off(*, queue: str, reason: PutOff) -> tuple[str, ...]:
    return (queue, reason)


def _wait_end(*, by: WaitEnd) -> tuple[str, ...]:
    return (by,)


def _slots(*, queue: str, state: SlotState) -> tuple[str, ...]:
    return (queue, state)


def _account(*, state: AccountState) -> tuple[str, ...]:
    return (state,)


def _slo(*, sli: Sli, pipeline: str, good: bool) -> tuple[str, ...]:
    return (sli, pipeline, "true" if good else "false")


def _limit(*, limit: str) -> tuple[str, ...]:
    return (limit,)


def _version_outcome(*, pipeline: str, outcome: VersionOutcome) -> tuple[str, ...]:
    return (pipeline, outcome)


def _reason(*, reason: DropReason) -> tuple[str, ...]:
    return (reason,)


class Metrics(StoreMetrics):
    """One process's metrics over ``registry``; each attribute is a live family.

    ``metrics.runs.labels(pipeline="triage", outcome=RunOutcome.SUCCEEDED).inc()``. Keep the child where the labels
    don't change.
    """

    http_request_duration = Histogram(
        "http_server_request_duration_seconds",
        "Seconds a request took, those that ended in an exception included.",
        _request,
        buckets=HTTP_SECONDS,
    )
    events = Counter("throughline_events_total", "Events that came in, by what became of them.", _event)
    ingest_flush_events = Histogram(
        "throughline_ingest_flush_events", "Events that shared a commit.", no_labels, buckets=BATCH_SIZES
    )
    ingest_flush_duration = Histogram(
        "throughline_ingest_flush_duration_seconds",
        "Seconds a shared commit took.",
        no_labels,
        buckets=FLUSH_SECONDS,
    )
    ingest_waiting = Gauge("throughline_ingest_waiting_requests", "Requests that wait for a commit.", no_labels)

    runs = Counter(
        "throughline_runs_total",
        "Tries of runs, by how they ended; succeeded, failed and cancelled are final.",
        _pipeline_outcome,
    )
    run_queue_wait = Histogram(
        "throughline_run_queue_wait_seconds",
        "Seconds from due to claimed; backoff is not counted.",
        _pipeline,
        buckets=WAIT_SECONDS,
    )
    run_duration = Histogram(
        "throughline_run_duration_seconds",
        "Seconds one try of a run took, from claimed to ended.",
        _pipeline_outcome,
        buckets=WORK_SECONDS,
    )
    node_duration = Histogram("throughline_node_duration_seconds", "Seconds a node took.", _node, buckets=WORK_SECONDS)
    run_end_to_end = Histogram(
        "throughline_run_end_to_end_seconds",
        "Seconds from the event's acceptance to the run's final state, retries and waits included.",
        _pipeline_outcome,
        buckets=WAIT_SECONDS,
    )
    slo_events = Counter(
        "throughline_slo_events_total",
        "What the targets are held against, good or bad: requests with events (pipeline is empty), claims, ended runs.",
        _slo,
    )
    stale_writes = Counter(
        "throughline_stale_writes_total",
        "Checkpoints, finishes and renewals refused because the run or the lease was no longer the worker's.",
        no_labels,
    )
    version_changes = Counter(
        "throughline_version_changes_total",
        "Claimed runs whose version of their pipeline the code lacks, or has with another graph, by what was done with "
        "them.",
        _version_outcome,
    )
    loop_blocked = Counter(
        "throughline_loop_blocked_total",
        "Times that a node kept a worker's event loop from its turn for a quarter of the limit.",
        _pipeline_node,
    )
    worker_slots = Gauge("throughline_worker_slots", "A worker process's slots for runs: used, and in total.", _slots)

    queue_depth = Gauge("throughline_queue_depth", "Unfinished runs, as PostgreSQL tells.", _queue_state)
    queue_oldest_age = Gauge(
        "throughline_queue_oldest_age_seconds", "Age of the oldest run in this state.", _queue_state
    )
    suspended_runs = Gauge(
        "throughline_suspended_runs", "Runs that wait for an event or sleep, and are not due.", _put_off
    )
    waits_ended = Counter(
        "throughline_waits_ended_total", "Runs' waits for an event that ended, by what ended them.", _wait_end
    )
    wait_match = Histogram(
        "throughline_wait_match_seconds",
        "Seconds from when a wait and its event were both there to when they were brought together.",
        no_labels,
        buckets=WAIT_SECONDS,
    )
    match_oldest_age = Gauge(
        "throughline_match_oldest_age_seconds",
        "Age of the oldest wait or awaited event that no relay has looked at.",
        no_labels,
    )
    dead_runs = Gauge("throughline_dead_runs", "Failed runs that nobody has replayed.", no_labels)
    unrouted_events = Gauge("throughline_unrouted_events", "Events that no pipeline takes.", no_labels)
    accounting_runs = Gauge(
        "throughline_accounting_runs",
        "The account of runs: accepted and final ever, open now, removed of the final; difference is accepted - final "
        "- open, and anything but 0 is a fault.",
        _account,
    )
    limit_waiting_runs = Gauge(
        "throughline_limit_waiting_runs",
        "Due runs that wait for permits; one of several limits counts for each of them.",
        _limit,
    )
    limit_permits_held = Gauge(
        "throughline_limit_permits_held", "Permits that runs hold, of a limit over all its keys.", _limit
    )
    limit_admissions = Counter(
        "throughline_limit_admissions_total",
        "Runs that a limit let go; one that waits for another try counts again.",
        _limit,
    )
    expired_runs = Counter(
        "throughline_expired_runs_total", "Runs that failed because they had not begun in time.", _pipeline
    )
    superseded_runs = Counter(
        "throughline_superseded_runs_total",
        "Runs that were cancelled because another of the same key had not ended.",
        _pipeline,
    )
    leases_expired = Counter(
        "throughline_leases_expired_total", "Leases of worker processes that ended without being given back.", no_labels
    )
    published = Counter("throughline_published_total", "Runs sent to a queue; one sent again counts again.", _queue)
    publish_errors = Counter("throughline_publish_errors_total", "Messages that could not be sent.", _queue)
    message_runs = Histogram("throughline_message_runs", "Runs that shared a message.", _queue, buckets=BATCH_SIZES[:8])
    relay_pass_duration = Histogram(
        "throughline_relay_pass_duration_seconds",
        "Seconds the relay took to look for due runs and send them.",
        no_labels,
        buckets=WORK_SECONDS,
    )
    relay_last_pass = Gauge(
        "throughline_relay_last_pass_timestamp_seconds",
        "When the relay last looked for due runs and got through, in Unix time.",
        no_labels,
    )

    spans_exported = Counter("throughline_spans_exported_total", "Spans that a collector took.", no_labels)
    spans_dropped = Counter("throughline_spans_dropped_total", "Spans that no collector got, by why.", _reason)

    def __init__(self, registry: CollectorRegistry) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        for attribute, declaration in _declarations(type(self)).items():
            self.__dict__[attribute] = declaration.create(registry)


def _declarations(owner: type) -> dict[str, Declaration[...]]:
    declared = [item for base in owner.__mro__ for item in vars(base).items()]
    return {name: value for name, value in declared if isinstance(value, Declaration)}


catalogue: Final[tuple[Declaration[...], ...]] = tuple(_declarations(Metrics).values())


def null_metrics() -> Metrics:
    """Return metrics that nobody reads, for code that is used without an endpoint."""
    return Metrics(CollectorRegistry())
