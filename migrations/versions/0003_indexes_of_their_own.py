import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "events_ce_id_key",
        "events",
        ["tenant", "source", "ce_id"],
        unique=True,
        postgresql_where=sa.text("ce_id IS NOT NULL"),
    )
    op.drop_constraint("events_tenant_source_ce_id_key", "events", type_="unique")
    op.drop_index("events_type_idx", table_name="events")
    op.create_index(
        "events_type_idx",
        "events",
        ["tenant", "type", "event_id"],
        unique=False,
        postgresql_where=sa.text("type IS NOT NULL"),
    )
    op.drop_index("runs_event_idx", table_name="runs")
    op.create_index(
        "runs_event_idx", "runs", ["tenant", "event_id"], unique=False, postgresql_where=sa.text("event_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("runs_event_idx", table_name="runs", postgresql_where=sa.text("event_id IS NOT NULL"))
    op.create_index("runs_event_idx", "runs", ["tenant", "event_id"], unique=False)
    op.drop_index("events_type_idx", table_name="events", postgresql_where=sa.text("type IS NOT NULL"))
    op.create_index("events_type_idx", "events", ["tenant", "type", "event_id"], unique=False)
    op.create_unique_constraint("events_tenant_source_ce_id_key", "events", ["tenant", "source", "ce_id"])
    op.drop_index("events_ce_id_key", table_name="events", postgresql_where=sa.text("ce_id IS NOT NULL"))
