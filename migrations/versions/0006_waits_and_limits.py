import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REASONS = ("accepted", "retry", "rescued", "handed_back", "unknown_pipeline", "replayed", "isolated")
_KINDS = ("error", "timeout", "invalid_output", "invalid_event", "poisoned")
_OUTCOMES = ("succeeded", "retried", "failed", "cancelled", "handed_back", "lost")
_NODES = ("succeeded", "failed", "skipped")


def _words(table: str, column: str, words: tuple[str, ...]) -> None:
    """Hold a column to other words, without reading the table under a lock that stops it."""
    name = f"{table}_{column}_check"
    listed = ", ".join(f"'{word}'" for word in words)
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IN ({listed})) NOT VALID")
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.Text(), server_default="default", nullable=False)


def upgrade() -> None:
    _words("runs", "reason", (*_REASONS, "waiting", "sleeping", "limited"))
    _words("runs", "failure_kind", (*_KINDS, "expired", "incompatible"))
    _words("attempts", "outcome", (*_OUTCOMES, "suspended"))
    _words("node_results", "status", (*_NODES, "stopped"))
    for column in (
        sa.Column("accepted_version", sa.Integer()),
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("unique_key", sa.Text()),
        sa.Column("unique_since", sa.DateTime(timezone=True)),
        sa.Column("limits", postgresql.JSONB()),
        sa.Column("lane", sa.Text()),
        sa.Column("admitted_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("runs", column)
    for name, condition in (
        ("runs_limits_have_lane_check", "(limits IS NULL) = (lane IS NULL)"),
        ("runs_admitted_has_lane_check", "admitted_at IS NULL OR lane IS NOT NULL"),
    ):
        op.execute(f"ALTER TABLE runs ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
        op.execute(f"ALTER TABLE runs VALIDATE CONSTRAINT {name}")
    op.create_index(
        "runs_lane_idx",
        "runs",
        ["lane", "available_at"],
        postgresql_where=sa.text(
            "status = 'queued' AND lane IS NOT NULL AND admitted_at IS NULL "
            "AND (unique_key IS NULL OR unique_since IS NOT NULL)"
        ),
    )
    op.create_index(
        "runs_priority_idx",
        "runs",
        ["queue", "priority", "publish_at"],
        postgresql_where=sa.text("status = 'queued' AND priority > 0"),
    )
    op.create_index(
        "runs_expiry_idx",
        "runs",
        ["expires_at"],
        postgresql_where=sa.text("status = 'queued' AND attempt = 0 AND expires_at IS NOT NULL"),
    )
    op.create_index(
        "runs_unique_idx",
        "runs",
        ["tenant", "pipeline", "unique_key", "run_id"],
        postgresql_where=sa.text("status IN ('queued', 'running') AND unique_key IS NOT NULL"),
    )
    op.create_index(
        "runs_unique_holder_idx",
        "runs",
        ["tenant", "pipeline", "unique_key"],
        unique=True,
        postgresql_where=sa.text("status IN ('queued', 'running') AND unique_since IS NOT NULL"),
    )
    op.create_index(
        "runs_unique_new_idx",
        "runs",
        ["available_at"],
        postgresql_where=sa.text("status = 'queued' AND unique_key IS NOT NULL AND unique_since IS NULL"),
    )
    _create_waits()
    _create_permits()


def _create_permits() -> None:
    op.create_table(
        "permits",
        _tenant(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("spent", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "key", "admitted_at", "run_id", name=op.f("permits_pkey")),
    )
    op.create_index("permits_held_idx", "permits", ["tenant", "name", "key"], postgresql_where=sa.text("NOT spent"))
    op.create_index("permits_spent_idx", "permits", ["kept_until"], postgresql_where=sa.text("spent"))


def _create_waits() -> None:
    op.create_table(
        "waits",
        _tenant(),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("type", sa.Text()),
        sa.Column("path", sa.Text()),
        sa.Column("key", sa.Text()),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("probed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("matched_event_id", sa.Uuid()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "(type IS NULL) = (key IS NULL) AND (type IS NULL) = (path IS NULL)", name=op.f("waits_awaited_check")
        ),
        sa.CheckConstraint("matched_event_id IS NULL OR ended_at IS NOT NULL", name=op.f("waits_matched_check")),
        sa.ForeignKeyConstraint(
            ["tenant", "run_id"], ["runs.tenant", "runs.run_id"], name=op.f("waits_runs_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant", "run_id", "node", name=op.f("waits_pkey")),
    )
    op.create_index(
        "waits_open_idx",
        "waits",
        ["tenant", "type", "path", "key"],
        postgresql_where=sa.text("type IS NOT NULL AND ended_at IS NULL"),
    )
    op.create_index("waits_new_idx", "waits", ["began_at"], postgresql_where=sa.text("type IS NOT NULL AND NOT probed"))
    op.create_index(
        "waits_matched_idx",
        "waits",
        ["tenant", "matched_event_id"],
        postgresql_where=sa.text("matched_event_id IS NOT NULL"),
    )
    op.create_table(
        "event_keys",
        _tenant(),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("probed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "event_id"],
            ["events.tenant", "events.event_id"],
            name=op.f("event_keys_events_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "event_id", "path", name=op.f("event_keys_pkey")),
    )
    op.create_index("event_keys_found_idx", "event_keys", ["tenant", "type", "path", "key", "received_at", "event_id"])
    op.create_index("event_keys_new_idx", "event_keys", ["received_at"], postgresql_where=sa.text("NOT probed"))
    op.create_index("events_awaited_idx", "events", ["received_at"], postgresql_where=sa.text("routes < 0"))


def downgrade() -> None:
    """Go back where no row says what the older schema can't: such a row makes it fail, and change nothing."""
    op.drop_index("events_awaited_idx", table_name="events")
    op.execute("UPDATE events SET routes = 0 WHERE routes < 0")
    op.drop_table("permits")
    op.drop_table("event_keys")
    op.drop_table("waits")
    for index in (
        "runs_unique_new_idx",
        "runs_unique_holder_idx",
        "runs_unique_idx",
        "runs_expiry_idx",
        "runs_priority_idx",
        "runs_lane_idx",
    ):
        op.drop_index(index, table_name="runs")
    for name in ("runs_admitted_has_lane_check", "runs_limits_have_lane_check"):
        op.drop_constraint(name, "runs")
    for column in (
        "admitted_at",
        "lane",
        "limits",
        "unique_since",
        "unique_key",
        "expires_at",
        "priority",
        "accepted_version",
    ):
        op.drop_column("runs", column)
    _words("node_results", "status", _NODES)
    _words("attempts", "outcome", _OUTCOMES)
    _words("runs", "failure_kind", _KINDS)
    _words("runs", "reason", _REASONS)
