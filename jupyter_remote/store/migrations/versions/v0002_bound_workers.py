"""Workers are bound to their token, a forced cancel is kept, runs are found by their code."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _column("worker", "token", sa.Text(), "")
    _column("job", "code_digest", sa.Text(), "")
    _column("job", "cancel_forced", sa.SmallInteger(), "0")
    _index("ix_job_single", ["seq"], "state = 'queued' AND ready = 1 AND batch IS NULL")
    _index("ix_job_code", ["owner", "code_digest"], "state = 'succeeded' AND code_digest <> ''")


def _column(table: str, name: str, kind: sa.types.TypeEngine[Any], default: str) -> None:
    op.add_column(table, sa.Column(name, kind, server_default=default, nullable=False))


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "job", columns, sqlite_where=where, postgresql_where=where)
