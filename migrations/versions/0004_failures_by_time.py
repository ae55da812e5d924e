import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "runs_failed_at_idx", "runs", ["finished_at"], unique=False, postgresql_where=sa.text("status = 'failed'")
    )


def downgrade() -> None:
    op.drop_index("runs_failed_at_idx", table_name="runs", postgresql_where=sa.text("status = 'failed'"))
