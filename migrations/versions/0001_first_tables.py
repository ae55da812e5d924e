"""first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("ce_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("routes", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "event_id", name=op.f("events_pkey")),
        sa.UniqueConstraint("tenant", "source", "ce_id", name=op.f("events_tenant_source_ce_id_key")),
    )
    op.create_index("events_type_idx", "events", ["tenant", "type", "event_id"], unique=False)
    op.create_index(
        "events_unrouted_idx", "events", ["tenant", "event_id"], unique=False, postgresql_where=sa.text("routes = 0")
    )
    op.create_table(
        "worker_leases",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "lease_id", name=op.f("worker_leases_pkey")),
    )
    op.create_index(
        "worker_leases_live_idx",
        "worker_leases",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "runs",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("available_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("publish_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("errors", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deaths", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("failure_kind", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'failed') = (failure_kind IS NOT NULL)", name=op.f("runs_failed_has_kind_check")),
        sa.CheckConstraint("(status = 'running') = (lease_id IS NOT NULL)", name=op.f("runs_running_has_lease_check")),
        sa.CheckConstraint(
            "(status IN ('cancelled', 'failed', 'succeeded')) = (finished_at IS NOT NULL)",
            name=op.f("runs_final_has_time_check"),
        ),
        sa.CheckConstraint(
            "failure_kind IN ('error', 'timeout', 'invalid_output', 'invalid_event')",
            name=op.f("runs_failure_kind_check"),
        ),
        sa.CheckConstraint(
            "reason IN ('accepted', 'retry', 'rescued', 'handed_back', 'unknown_pipeline')",
            name=op.f("runs_reason_check"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("runs_status_check")
        ),
        sa.CheckConstraint("attempt >= 0 AND errors >= 0 AND deaths >= 0", name=op.f("runs_counts_check")),
        sa.ForeignKeyConstraint(
            ["tenant", "event_id"],
            ["events.tenant", "events.event_id"],
            name=op.f("runs_events_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "run_id", name=op.f("runs_pkey")),
    )
    op.create_index(
        "runs_due_idx", "runs", ["queue", "publish_at"], unique=False, postgresql_where=sa.text("status = 'queued'")
    )
    op.create_index("runs_event_idx", "runs", ["tenant", "event_id"], unique=False)
    op.create_index(
        "runs_failed_idx", "runs", ["tenant", "event_id"], unique=False, postgresql_where=sa.text("status = 'failed'")
    )
    op.create_index(
        "runs_lease_idx", "runs", ["lease_id"], unique=False, postgresql_where=sa.text("status = 'running'")
    )
    op.create_index(
        "runs_published_idx",
        "runs",
        ["queue", "publish_at"],
        unique=False,
        postgresql_where=sa.text("status = 'queued' AND published_at IS NOT NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'retried', 'failed', 'cancelled', 'handed_back', 'lost')",
            name=op.f("attempts_outcome_check"),
        ),
        sa.CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name=op.f("attempts_ended_check")),
        sa.ForeignKeyConstraint(
            ["tenant", "run_id"], ["runs.tenant", "runs.run_id"], name=op.f("attempts_runs_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant", "run_id", "attempt", name=op.f("attempts_pkey")),
    )
    op.create_table(
        "node_results",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("output", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_seconds", sa.Double(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('succeeded', 'failed', 'skipped')", name=op.f("node_results_status_check")),
        sa.CheckConstraint("duration_seconds >= 0", name=op.f("node_results_duration_check")),
        sa.ForeignKeyConstraint(
            ["tenant", "run_id"],
            ["runs.tenant", "runs.run_id"],
            name=op.f("node_results_runs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "run_id", "node", "item", name=op.f("node_results_pkey")),
    )


def downgrade() -> None:
    op.drop_table("node_results")
    op.drop_table("attempts")
    op.drop_index(
        "runs_published_idx",
        table_name="runs",
        postgresql_where=sa.text("status = 'queued' AND published_at IS NOT NULL"),
    )
    op.drop_index("runs_lease_idx", table_name="runs", postgresql_where=sa.text("status = 'running'"))
    op.drop_index("runs_failed_idx", table_name="runs", postgresql_where=sa.text("status = 'failed'"))
    op.drop_index("runs_event_idx", table_name="runs")
    op.drop_index("runs_due_idx", table_name="runs", postgresql_where=sa.text("status = 'queued'"))
    op.drop_table("runs")
    op.drop_index("worker_leases_live_idx", table_name="worker_leases", postgresql_where=sa.text("ended_at IS NULL"))
    op.drop_table("worker_leases")
    op.drop_index("events_unrouted_idx", table_name="events", postgresql_where=sa.text("routes = 0"))
    op.drop_index("events_type_idx", table_name="events")
    op.drop_table("events")
