"""The tables. ``tenant`` leads every key; statuses are text held to their words by a check."""

from collections.abc import Iterable
from typing import get_args

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from events import (
    DEFAULT_TENANT,
    FINAL_STATUSES,
    AttemptOutcome,
    FailureKind,
    NodeStatus,
    QueueReason,
    RunStatus,
)
from settings import LogLevel

metadata = MetaData(
    naming_convention={
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(referred_table_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)


def _one_of(column: str, words: Iterable[str]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _tenant() -> Column[str]:
    return Column("tenant", Text, nullable=False, server_default=DEFAULT_TENANT)


_FINAL = ", ".join(f"'{status.value}'" for status in sorted(FINAL_STATUSES))

events = Table(
    "events",
    metadata,
    _tenant(),
    Column("event_id", Uuid, nullable=False),
    Column("source", Text, nullable=False),
    Column("ce_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text),
    Column("time", DateTime(timezone=True)),
    Column("data", JSONB, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("traceparent", Text),
    Column("routes", SmallInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "event_id"),
    Index("events_ce_id_key", "tenant", "source", "ce_id", unique=True, postgresql_where=text("ce_id IS NOT NULL")),
    Index("events_type_idx", "tenant", "type", "event_id", postgresql_where=text("type IS NOT NULL")),
    Index("events_unrouted_idx", "tenant", "event_id", postgresql_where=text("routes = 0")),
    Index("events_awaited_idx", "received_at", postgresql_where=text("routes < 0")),
)
"""``routes``: how many pipelines the event went to when it was accepted; 0 is unrouted, and -1 that no pipeline takes
its type, and runs may wait for it.

An index whose predicate says that a column that is never null isn't null holds every row, and serves nobody who doesn't
ask for that column. Without it all indexes that begin with the tenant look the same while a table is new, and the
planner takes that of all the tenant's rows for the primary key as gladly as the primary key itself.
"""

runs = Table(
    "runs",
    metadata,
    _tenant(),
    Column("run_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("pipeline_version", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=RunStatus.QUEUED.value),
    Column("reason", Text),
    Column("available_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("publish_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_at", DateTime(timezone=True)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("errors", Integer, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("lease_id", Uuid),
    Column("failure_kind", Text),
    Column("error", JSONB),
    Column("cell_deaths", Integer, nullable=False, server_default="0"),
    Column("home_queue", Text),
    Column("cancel_requested_at", DateTime(timezone=True)),
    Column("cancel_reason", Text),
    Column("replay_of", Uuid),
    Column("replay_from", Text),
    Column("accepted_version", Integer),
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    Column("expires_at", DateTime(timezone=True)),
    Column("unique_key", Text),
    Column("unique_since", DateTime(timezone=True)),
    Column("limits", JSONB),
    Column("lane", Text),
    Column("admitted_at", DateTime(timezone=True)),
    Column("traceparent", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant", "run_id"),
    ForeignKeyConstraint(["tenant", "event_id"], ["events.tenant", "events.event_id"], ondelete="CASCADE"),
    _one_of("status", RunStatus),
    _one_of("reason", QueueReason),
    _one_of("failure_kind", FailureKind),
    CheckConstraint("(status = 'running') = (lease_id IS NOT NULL)", name="running_has_lease"),
    CheckConstraint(f"(status IN ({_FINAL})) = (finished_at IS NOT NULL)", name="final_has_time"),
    CheckConstraint("(status = 'failed') = (failure_kind IS NOT NULL)", name="failed_has_kind"),
    CheckConstraint("attempt >= 0 AND errors >= 0 AND deaths >= 0 AND cell_deaths >= 0", name="counts"),
    CheckConstraint("replay_from IS NULL OR replay_of IS NOT NULL", name="replay_has_origin"),
    CheckConstraint("cancel_reason IS NULL OR cancel_requested_at IS NOT NULL OR status = 'cancelled'", name="cancel"),
    CheckConstraint("(limits IS NULL) = (lane IS NULL)", name="limits_have_lane"),
    CheckConstraint("admitted_at IS NULL OR lane IS NOT NULL", name="admitted_has_lane"),
    Index("runs_event_idx", "tenant", "event_id", postgresql_where=text("event_id IS NOT NULL")),
    Index("runs_due_idx", "queue", "publish_at", postgresql_where=text("status = 'queued'")),
    Index(
        "runs_published_idx",
        "queue",
        "publish_at",
        postgresql_where=text("status = 'queued' AND published_at IS NOT NULL"),
    ),
    Index("runs_lease_idx", "lease_id", postgresql_where=text("status = 'running'")),
    Index("runs_failed_idx", "tenant", "event_id", postgresql_where=text("status = 'failed'")),
    Index("runs_failed_at_idx", "finished_at", postgresql_where=text("status = 'failed'")),
    Index(
        "runs_cancelling_idx",
        "lease_id",
        postgresql_where=text("status = 'running' AND cancel_requested_at IS NOT NULL"),
    ),
    Index("runs_ended_idx", "finished_at", postgresql_where=text("status IN ('succeeded', 'cancelled')")),
    Index(
        "runs_lane_idx",
        "lane",
        "available_at",
        postgresql_where=text(
            "status = 'queued' AND lane IS NOT NULL AND admitted_at IS NULL "
            "AND (unique_key IS NULL OR unique_since IS NOT NULL)"
        ),
    ),
    Index(
        "runs_priority_idx",
        "queue",
        "priority",
        "publish_at",
        postgresql_where=text("status = 'queued' AND priority > 0"),
    ),
    Index(
        "runs_expiry_idx",
        "expires_at",
        postgresql_where=text("status = 'queued' AND attempt = 0 AND expires_at IS NOT NULL"),
    ),
    Index(
        "runs_unique_holder_idx",
        "tenant",
        "pipeline",
        "unique_key",
        unique=True,
        postgresql_where=text("status IN ('queued', 'running') AND unique_since IS NOT NULL"),
    ),
    Index(
        "runs_unique_new_idx",
        "available_at",
        postgresql_where=text("status = 'queued' AND unique_key IS NOT NULL AND unique_since IS NULL"),
    ),
    Index(
        "runs_unique_idx",
        "tenant",
        "pipeline",
        "unique_key",
        "run_id",
        postgresql_where=text("status IN ('queued', 'running') AND unique_key IS NOT NULL"),
    ),
)
"""``available_at``: when the run is due. ``publish_at``: when a relay may next publish it. ``published_at``: when it
was last taken for publishing, empty when it isn't thought to be in Redis. ``attempt`` is the fencing token, ``errors``
the spent error budget, ``deaths`` the processes that ended under it, ``cell_deaths`` those that ended under it alone in
the cell; ``home_queue`` is where a run came from that was moved to the cell's queue. ``replay_of`` is the run that this
one repeats, from the node ``replay_from`` on where that is set. ``accepted_version``: the pipeline's version that the
event was checked against, where that isn't the run's own.

``expires_at``: not begun by then, the run has expired. ``unique_key``: no other run of its pipeline with that key is
under way beside it, and ``unique_since`` when that was seen to; no relay publishes it before. ``limits`` are what the
run counts against, ``lane`` the same in a word: all runs of a lane want the same permits. A run with a lane is
published (its ``publish_at`` is infinite) only once it was admitted, at ``admitted_at``, and its permits are good as
long as that stands and the run has not ended."""

attempts = Table(
    "attempts",
    metadata,
    _tenant(),
    Column("run_id", Uuid, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lease_id", Uuid, nullable=False),
    Column("worker", Text, nullable=False),
    Column("task_id", Text),
    Column("span_id", Text),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Column("outcome", Text),
    Column("error", JSONB),
    PrimaryKeyConstraint("tenant", "run_id", "attempt"),
    ForeignKeyConstraint(["tenant", "run_id"], ["runs.tenant", "runs.run_id"], ondelete="CASCADE"),
    _one_of("outcome", AttemptOutcome),
    CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="ended"),
)

node_results = Table(
    "node_results",
    metadata,
    _tenant(),
    Column("run_id", Uuid, nullable=False),
    Column("node", Text, nullable=False),
    Column("item", Integer, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("output", JSONB),
    Column("error", JSONB),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("duration_seconds", Double, nullable=False),
    Column("span_id", Text),
    PrimaryKeyConstraint("tenant", "run_id", "node", "item"),
    ForeignKeyConstraint(["tenant", "run_id"], ["runs.tenant", "runs.run_id"], ondelete="CASCADE"),
    _one_of("status", NodeStatus),
    CheckConstraint("duration_seconds >= 0", name="duration"),
)

waits = Table(
    "waits",
    metadata,
    _tenant(),
    Column("run_id", Uuid, nullable=False),
    Column("node", Text, nullable=False),
    Column("type", Text),
    Column("path", Text),
    Column("key", Text),
    Column("began_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("probed", Boolean, nullable=False, server_default=false()),
    Column("matched_event_id", Uuid),
    Column("ended_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant", "run_id", "node"),
    ForeignKeyConstraint(["tenant", "run_id"], ["runs.tenant", "runs.run_id"], ondelete="CASCADE"),
    CheckConstraint("(type IS NULL) = (key IS NULL) AND (type IS NULL) = (path IS NULL)", name="awaited"),
    CheckConstraint("matched_event_id IS NULL OR ended_at IS NOT NULL", name="matched"),
    Index(
        "waits_open_idx",
        "tenant",
        "type",
        "path",
        "key",
        postgresql_where=text("type IS NOT NULL AND ended_at IS NULL"),
    ),
    Index("waits_new_idx", "began_at", postgresql_where=text("type IS NOT NULL AND NOT probed")),
    Index("waits_matched_idx", "tenant", "matched_event_id", postgresql_where=text("matched_event_id IS NOT NULL")),
)
"""Where runs wait: for an event, or, without a ``type``, for ``until`` alone. ``probed``: the events that came before
were looked through for it. ``ended_at``: when it was found that the event ``matched_event_id`` had come or, without
one, that the time was over."""

event_keys = Table(
    "event_keys",
    metadata,
    _tenant(),
    Column("event_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("probed", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("tenant", "event_id", "path"),
    ForeignKeyConstraint(["tenant", "event_id"], ["events.tenant", "events.event_id"], ondelete="CASCADE"),
    Index("event_keys_found_idx", "tenant", "type", "path", "key", "received_at", "event_id"),
    Index("event_keys_new_idx", "received_at", postgresql_where=text("NOT probed")),
)
"""The values by which waits find the events that some pipeline waits for; ``received_at`` is the event's. ``probed``:
the waits that were there were looked through for it."""

permits = Table(
    "permits",
    metadata,
    _tenant(),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("admitted_at", DateTime(timezone=True), nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("kept_until", DateTime(timezone=True), nullable=False),
    Column("spent", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("tenant", "name", "key", "admitted_at", "run_id"),
    Index("permits_held_idx", "tenant", "name", "key", postgresql_where=text("NOT spent")),
    Index("permits_spent_idx", "kept_until", postgresql_where=text("spent")),
)
"""What admitted runs hold, a row for each limit. One is good as long as its run is admitted at that same moment and has
not ended: a run that ends, or is put off, has given its permits back by that. ``spent``: seen to be good no more, or of
a limit that has only a rate, and kept until ``kept_until``, for as long as the rate counts it."""

worker_leases = Table(
    "worker_leases",
    metadata,
    _tenant(),
    Column("lease_id", Uuid, nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("renewed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("cell", Boolean, nullable=False, server_default=false()),
    Column("ended_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant", "lease_id"),
    Index("worker_leases_live_idx", "expires_at", postgresql_where=text("ended_at IS NULL")),
)
"""One row a worker process boot. ``tenant`` is the one that operates the worker, not whose runs it takes. ``cell``: the
process runs one suspect at a time, so that a death there has one possible cause."""

run_deltas = Table(
    "run_deltas",
    metadata,
    _tenant(),
    Column("delta_id", BigInteger, Identity(always=True), nullable=False),
    Column("accepted", BigInteger, nullable=False, server_default="0"),
    Column("final", BigInteger, nullable=False, server_default="0"),
    Column("removed", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("tenant", "delta_id"),
)
"""What each transaction did to the number of runs: how many it made, ended and removed. The sum of all rows is the
account; they are folded together now and then."""

log_levels = Table(
    "log_levels",
    metadata,
    _tenant(),
    Column("service", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("tenant", "service"),
    _one_of("level", get_args(LogLevel)),
)
"""The level that somebody asked the processes of a service to log from, and until when. ``tenant`` is the one that
operates them."""
