import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_levels",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("level IN ('DEBUG', 'INFO', 'WARNING', 'ERROR')", name=op.f("log_levels_level_check")),
        sa.PrimaryKeyConstraint("tenant", "service", name=op.f("log_levels_pkey")),
    )


def downgrade() -> None:
    op.drop_table("log_levels")
