"""Machines in a cloud: whose they are, where, what they cost, how far their bootstrap came."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("owner", "job", "zone", "step", "detail"):
        op.add_column("instance", sa.Column(name, sa.Text(), server_default="", nullable=False))
    spot = sa.Column("spot", sa.SmallInteger(), server_default="0", nullable=False)
    op.add_column("instance", spot)
    rate = sa.Column("rate_ucredits_per_h", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("instance", rate)
    op.add_column("instance", sa.Column("ready_at", sa.Float(53)))
    op.add_column("instance", sa.Column("boot_log", sa.LargeBinary()))
    for name in ("gpus", "preemptions"):
        number = sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        op.add_column("job", number)
    op.add_column("job", sa.Column("devices", sa.Text(), server_default="", nullable=False))
