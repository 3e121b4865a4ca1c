"""Sessions: one of each name at a time, and cells that run in them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("job", sa.Column("session", sa.Text(), server_default="", nullable=False))
    where = sa.text("kind = 'session' AND ended_at IS NULL")
    op.create_index(
        "uq_job_session",
        "job",
        ["owner", "session"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )
