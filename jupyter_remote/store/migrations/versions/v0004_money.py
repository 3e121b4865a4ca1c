"""Estimates, fuses, checkpoints, receipts, the cache, budgets and results to share."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TEXTS = ("notebook", "code_key", "fuse", "priced_on")
_SUCCEEDED = "state = 'succeeded' AND code_key <> ''"


def upgrade() -> None:
    for name in _TEXTS:
        op.add_column("job", sa.Column(name, sa.Text(), server_default="", nullable=False))
    for name in ("resumes", "cached_from"):
        op.add_column("job", sa.Column(name, sa.Text()))
    for name in ("inputs_bytes", "saved_ucredits"):
        op.add_column("job", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    for name in ("estimate", "checkpoint", "receipt"):
        op.add_column("job", sa.Column(name, sa.LargeBinary()))
    op.add_column("job", sa.Column("warned_at", sa.Float(53)))
    op.add_column("spec", sa.Column("asked", sa.LargeBinary()))
    saves = sa.Column("cancel_saves", sa.SmallInteger(), server_default="0", nullable=False)
    op.add_column("job", saves)
    op.drop_index("ix_job_code", "job", if_exists=True)
    _index("ix_job_code_key", "job", ["owner", "code_key"], _SUCCEEDED)
    _index("ix_job_notebook", "job", ["owner", "notebook"], "notebook <> ''")
    _index("ix_job_kind", "job", ["owner", "kind"], "state = 'succeeded' AND batch IS NULL")
    _index("ix_job_queued", "job", ["owner", "state"], "state IN ('queued', 'retry_wait')")
    columns = ["source", "at", "kind", "amount_ucredits"]
    _index("ix_posting_capture", "posting", columns, "kind = 'capture'")
    notebook = sa.Column("notebook", sa.Text(), server_default="", nullable=False)
    op.add_column("posting", notebook)
    _add_cache()
    _add_budget()
    _add_share()


def _index(name: str, table: str, columns: list[str], only: str, *, unique: bool = False) -> None:
    where = sa.text(only)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=default, nullable=False)


def _time(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(53), nullable=False)


def _add_cache() -> None:
    op.create_table(
        "cache",
        _text("owner"),
        _text("key"),
        sa.Column("job", sa.Integer(), nullable=False),
        _text("name"),
        _text("code_key"),
        sa.Column("parts", sa.LargeBinary(), nullable=False),
        _number("size_bytes"),
        _number("cost_ucredits"),
        sa.Column("run_s", sa.Float(53), nullable=False),
        _number("hits", "0"),
        _number("saved_ucredits", "0"),
        _time("created_at"),
        _time("used_at"),
        sa.ForeignKeyConstraint(["job"], ["job.seq"], name="fk_cache_job"),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_cache"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_cache_name", "cache", ["owner", "name", "created_at"])
    op.create_index("ix_cache_job", "cache", ["job"])


def _add_budget() -> None:
    op.create_table(
        "budget",
        _text("owner"),
        _text("scope"),
        _text("name"),
        _number("limit_ucredits"),
        _number("spent_ucredits", "0"),
        _number("held_ucredits", "0"),
        sa.Column("day", sa.Text(), server_default="", nullable=False),
        _time("set_at"),
        sa.PrimaryKeyConstraint("owner", "scope", "name", name="pk_budget"),
        sqlite_with_rowid=False,
    )


def _add_share() -> None:
    op.create_table(
        "share",
        _text("id"),
        _text("job"),
        _text("owner"),
        _text("visibility"),
        _time("created_at"),
        sa.Column("revoked_at", sa.Float(53)),
        sa.PrimaryKeyConstraint("id", name="pk_share"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_share_job", "share", ["job"])
    _index("uq_share_open", "share", ["job"], "revoked_at IS NULL", unique=True)
    listed = "visibility = 'public' AND revoked_at IS NULL"
    _index("ix_share_public", "share", ["created_at", "id"], listed)
