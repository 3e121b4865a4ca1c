"""Which cell of its notebook a job comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name in ("cell", "cell_code"):
        op.add_column("job", sa.Column(name, sa.Text(), server_default="", nullable=False))
