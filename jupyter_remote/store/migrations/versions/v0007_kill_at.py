"""When a job that is being cancelled is killed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("job", sa.Column("kill_at", sa.Float(53)))
