"""What the endpoints answer, as OpenAPI shows it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from events import AttemptOutcome, EventStatus, FailureKind, NodeStatus, QueueReason, RunStatus


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventLinks(_Answer):
    """Where there is more: this event, and its trace where THROUGHLINE_API_TRACE_URL_TEMPLATE is set."""

    self: str
    trace: str | None = None


class RunSummary(_Answer):
    """A run in a few words."""

    run_id: UUID
    pipeline: str
    status: RunStatus
    replay_of: UUID | None = Field(default=None, description="The run that this one stands in for.")


class AcceptedEvent(_Answer):
    """What stands for an event that was sent. ``id``, ``source`` and ``type`` are the CloudEvents attributes."""

    event_id: UUID
    id: str
    source: str
    type: str
    status: EventStatus
    trace_id: str | None
    runs: list[RunSummary]
    links: EventLinks


class BatchItem(_Answer):
    """What became of one event of a batch: ``status`` as if it had come alone, and the event or the problem."""

    status: int
    event: AcceptedEvent | None = None
    problem: dict[str, Any] | None = Field(default=None, description="Problem details (RFC 9457).")


class AcceptedBatch(_Answer):
    """What became of the events of a batch; ``items`` are in the order they were sent."""

    accepted: int
    duplicates: int
    refused: int
    items: list[BatchItem]


class EventSummary(AcceptedEvent):
    """An event in a list."""

    subject: str | None
    received_at: datetime


class PageLinks(_Answer):
    """``next`` is None on the last page."""

    next: str | None


class EventPage(_Answer):
    """A page of events, newest first."""

    items: list[EventSummary]
    next_cursor: str | None
    links: PageLinks


class AttemptLinks(_Answer):
    """The attempt's Celery task in Flower, where THROUGHLINE_API_FLOWER_URL is set."""

    task: str | None = None


class Attempt(_Answer):
    """One try of a run; ``outcome`` and ``finished_at`` are None while it runs."""

    attempt: int
    worker: str
    task_id: str | None
    span_id: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: AttemptOutcome | None
    error: dict[str, Any] | None
    links: AttemptLinks


class NodeResult(_Answer):
    """What one node (and item) of a run gave back; ``duration`` is in seconds."""

    node: str
    item: int
    attempt: int
    status: NodeStatus
    output: Any
    error: dict[str, Any] | None
    started_at: datetime
    duration: float
    span_id: str | None


class Wait(_Answer):
    """A wait of a run: for an event of ``type`` whose value at ``path`` is ``key``, or without these for its time.

    ``ended_at`` is None while it lasts; then ``event_id`` is the event that came, None where the time was over.
    """

    node: str
    type: str | None
    path: str | None
    key: str | None
    began_at: datetime
    until: datetime
    ended_at: datetime | None
    event_id: UUID | None


class EndedWait(_Answer):
    """A wait of another event's run that this event has ended."""

    run_id: UUID
    node: str
    ended_at: datetime


class Failure(_Answer):
    """Why a run failed for good."""

    kind: FailureKind
    error: dict[str, Any] | None


class RunLinks(_Answer):
    """Where there is more: a run, its event, and in a run's story its trace, as for an event."""

    self: str
    event: str
    trace: str | None = None


class RunLimit(_Answer):
    """A limit that a run counts against: ``concurrency`` at once, ``rate`` starts in any ``per`` seconds."""

    name: str
    key: str
    concurrency: int | None
    rate: int | None
    per: float | None


class AwaitedLimit(RunLimit):
    """A limit that a run waits for, as it stands: permits ``held`` now, and runs ``started`` in the last ``per``."""

    held: int
    started: int
    full: bool


class Run(_Answer):
    """One pipeline's work on an event. ``reason`` and ``available_at`` tell why and until when it is queued.

    ``waits`` are those that its nodes began; the one that has not ended is what a queued run is put off for.
    ``waits_for`` are the limits that keep a queued run from being published; where none is full it waits for its turn.

    A replay has a trace of its own; its nodes of attempt 0 were taken over from the run ``replay_of``.
    """

    run_id: UUID
    pipeline: str
    pipeline_version: int
    queue: str
    status: RunStatus
    reason: QueueReason | None
    available_at: datetime
    attempt: int
    errors: int
    deaths: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    failure: Failure | None
    error: dict[str, Any] | None = Field(description="The last error, also of a try that is tried again.")
    cancel_requested_at: datetime | None
    cancel_reason: str | None
    replay_of: UUID | None
    replay_from: str | None
    priority: int = 0
    expires_at: datetime | None = Field(default=None, description="A run that has not begun by then fails.")
    unique_key: str | None = None
    limits: list[RunLimit] = []
    admitted_at: datetime | None = Field(default=None, description="Since when it holds its limits' permits.")
    waits_for: list[AwaitedLimit] = []
    trace_id: str | None
    attempts: list[Attempt]
    nodes: list[NodeResult]
    waits: list[Wait]
    links: RunLinks


class Event(_Answer):
    """An event and all that became of it. ``ended_waits`` are the waits of runs that it ended, the first hundred."""

    event_id: UUID
    id: str
    source: str
    type: str
    subject: str | None
    time: datetime | None
    data: Any
    received_at: datetime
    status: EventStatus
    trace_id: str | None
    traceparent: str | None
    runs: list[Run]
    ended_waits: list[EndedWait]
    links: EventLinks


class PipelineNode(_Answer):
    """A node of a pipeline; ``next`` are the nodes that may follow, ``timeout`` is in seconds.

    Without ``timeout`` or ``max_attempts`` of its own it goes by the pipeline's. ``nodes`` are the branches of a
    concurrent node, or what a sub-pipeline is made of.
    """

    name: str
    kind: str
    effects: bool
    timeout: float | None
    max_attempts: int | None
    next: list[str]
    summary: str
    nodes: "list[PipelineNode]" = []


class PipelineLimit(_Answer):
    """A limit of a pipeline's runs, for each value of ``by``: so many at once, ``starts`` in ``per`` seconds."""

    name: str
    by: str | None
    concurrency: int | None
    starts: int | None
    per: float | None


class PipelineInfo(_Answer):
    """A pipeline as this release has it; ``timeout``, of a try, ``lifetime`` and ``ttl``, of a run, are in seconds.

    It is told as its newest version is, which new events go to. Runs that began in another of the ``versions`` go on in
    that.
    """

    name: str
    version: int
    versions: list[int]
    types: list[str]
    queue: str
    timeout: float
    lifetime: float | None
    max_attempts: int
    limits: list[PipelineLimit]
    priority: int
    ttl: float | None
    unique: str | None
    start: str
    nodes: list[PipelineNode]
    schema_name: str
    json_schema: dict[str, Any]


class PipelineLinks(_Answer):
    """Where there is more: this pipeline, and its picture as SVG."""

    self: str
    graph: str


class PipelineDetail(PipelineInfo):
    """A pipeline with its picture: ``mermaid`` is a flowchart as text."""

    mermaid: str
    links: PipelineLinks


class PipelineList(_Answer):
    """All pipelines, by name."""

    items: list[PipelineInfo]


class Health(_Answer):
    """Whether the process lives, or is ready for requests; ``reason`` tells why not."""

    status: str
    reason: str | None = None


class ProblemError(_Answer):
    """One field that is not as it should be. Values are never quoted."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """RFC 9457 problem details. ``type`` is ``about:blank`` or a page of this server that explains it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str
    trace_id: str | None
    errors: list[ProblemError] | None = None
