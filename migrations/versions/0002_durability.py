"""What replay, cancel, isolation and accounting need."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


_VACUUM_AT = {"runs": "0.02", "attempts": "0.05", "node_results": "0.05", "events": "0.05"}
"""At which share of dead rows a table is vacuumed, in place of a fifth: a run leaves three, and a long history must not
put off cleaning up after the runs of today."""

_NEW = frozenset({"replay_has_origin", "cancel"})


def _check(table: str, name: str, condition: str, *, replaced: bool = True) -> None:
    """Put a check on a table, in place of the one of that name; NOT VALID first, so that the table stays writable."""
    constraint = f"{table}_{name}_check"
    if replaced and name not in _NEW:
        op.drop_constraint(constraint, table)
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({condition}) NOT VALID")
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")


def upgrade() -> None:
    op.create_table(
        "run_deltas",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("delta_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("final", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("removed", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("tenant", "delta_id", name=op.f("run_deltas_pkey")),
    )
    op.add_column("runs", sa.Column("cell_deaths", sa.Integer(), server_default="0", nullable=False))
    op.add_column("runs", sa.Column("home_queue", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("cancel_reason", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("replay_of", sa.Uuid(), nullable=True))
    op.add_column("runs", sa.Column("replay_from", sa.Text(), nullable=True))
    op.create_index(
        "runs_cancelling_idx",
        "runs",
        ["lease_id"],
        unique=False,
        postgresql_where=sa.text("status = 'running' AND cancel_requested_at IS NOT NULL"),
    )
    op.create_index(
        "runs_ended_idx",
        "runs",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('succeeded', 'cancelled')"),
    )
    op.add_column("worker_leases", sa.Column("cell", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _check(
        "runs",
        "reason",
        "reason IN ('accepted', 'retry', 'rescued', 'handed_back', 'unknown_pipeline', 'replayed', 'isolated')",
    )
    _check(
        "runs", "failure_kind", "failure_kind IN ('error', 'timeout', 'invalid_output', 'invalid_event', 'poisoned')"
    )
    _check("runs", "counts", "attempt >= 0 AND errors >= 0 AND deaths >= 0 AND cell_deaths >= 0")
    _check("runs", "replay_has_origin", "replay_from IS NULL OR replay_of IS NOT NULL")
    _check("runs", "cancel", "cancel_reason IS NULL OR cancel_requested_at IS NOT NULL OR status = 'cancelled'")
    op.execute(
        "INSERT INTO run_deltas (tenant, accepted, final) "
        "SELECT tenant, count(*), count(finished_at) FROM runs GROUP BY tenant"
    )
    for table, share in _VACUUM_AT.items():
        op.execute(f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = {share})")


def downgrade() -> None:
    for table in _VACUUM_AT:
        op.execute(f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor)")
    for name in ("reason", "failure_kind", "counts", "replay_has_origin", "cancel"):
        op.drop_constraint(f"runs_{name}_check", "runs")
    op.execute("UPDATE runs SET reason = NULL WHERE reason IN ('replayed', 'isolated')")
    op.execute("UPDATE runs SET failure_kind = 'error' WHERE failure_kind = 'poisoned'")
    _check(
        "runs",
        "reason",
        "reason IN ('accepted', 'retry', 'rescued', 'handed_back', 'unknown_pipeline')",
        replaced=False,
    )
    _check(
        "runs",
        "failure_kind",
        "failure_kind IN ('error', 'timeout', 'invalid_output', 'invalid_event')",
        replaced=False,
    )
    _check("runs", "counts", "attempt >= 0 AND errors >= 0 AND deaths >= 0", replaced=False)
    op.drop_column("worker_leases", "cell")
    op.drop_index("runs_ended_idx", table_name="runs", postgresql_where=sa.text("status IN ('succeeded', 'cancelled')"))
    op.drop_index(
        "runs_cancelling_idx",
        table_name="runs",
        postgresql_where=sa.text("status = 'running' AND cancel_requested_at IS NOT NULL"),
    )
    op.drop_column("runs", "replay_from")
    op.drop_column("runs", "replay_of")
    op.drop_column("runs", "cancel_reason")
    op.drop_column("runs", "cancel_requested_at")
    op.drop_column("runs", "home_queue")
    op.drop_column("runs", "cell_deaths")
    op.drop_table("run_deltas")
