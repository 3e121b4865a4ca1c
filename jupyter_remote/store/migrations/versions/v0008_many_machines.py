"""Of many machines that there once were, those that are asked for are found at once."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_worker_token", "worker", ["token"])
    op.create_index("ix_instance_created", "instance", ["created_at", "id"])
    op.create_index("ix_instance_owner", "instance", ["owner", "created_at", "id"])
    op.create_index("ix_instance_job", "instance", ["job", "created_at", "id"])
