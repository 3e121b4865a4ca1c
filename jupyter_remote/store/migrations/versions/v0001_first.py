"""The tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TRIGGERS = [
    "CREATE TRIGGER posting_is_never_changed BEFORE UPDATE ON posting "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "CREATE TRIGGER posting_is_never_deleted BEFORE DELETE ON posting "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "CREATE TRIGGER job_that_ended_stays BEFORE UPDATE ON job "
    "WHEN OLD.state IN ('succeeded', 'failed', 'cancelled', 'expired') "
    "BEGIN SELECT RAISE(ABORT, 'a terminal job does not change'); END",
]


def upgrade() -> None:
    _jobs()
    _attempts_and_events()
    _blobs()
    _money()
    _fleet()
    for trigger in TRIGGERS:
        op.execute(trigger)


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("visibility", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("simulated", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("timeout_s", sa.Float(precision=53), nullable=True),
        sa.Column("max_run_s", sa.Float(precision=53), nullable=False),
        sa.Column("max_cost_ucredits", sa.BigInteger(), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_attempts", sa.BigInteger(), nullable=False),
        sa.Column("retries", sa.BigInteger(), nullable=False),
        sa.Column("rate_ucredits_per_h", sa.BigInteger(), nullable=False),
        sa.Column("hold_ucredits", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.Float(precision=53), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cancel_requested", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("stage", sa.Text(), server_default="", nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("starts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cost_ucredits", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ready", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("not_before_at", sa.Float(precision=53), nullable=True),
        sa.Column("claimed_at", sa.Float(precision=53), nullable=True),
        sa.Column("started_at", sa.Float(precision=53), nullable=True),
        sa.Column("ended_at", sa.Float(precision=53), nullable=True),
        sa.Column("cancel_requested_at", sa.Float(precision=53), nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("progress", sa.LargeBinary(), nullable=True),
        sa.Column("metrics", sa.LargeBinary(), nullable=True),
        sa.Column("log", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "cost_ucredits >= 0 AND cost_ucredits <= hold_ucredits", name=op.f("ck_job_charge")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job")),
        sa.UniqueConstraint("id", name=op.f("uq_job_id")),
    )
    op.create_index(
        "ix_job_batch",
        "job",
        ["batch"],
        unique=False,
        sqlite_where=sa.text("batch IS NOT NULL"),
        postgresql_where=sa.text("batch IS NOT NULL"),
    )
    op.create_index(
        "ix_job_claimable",
        "job",
        ["seq"],
        unique=False,
        sqlite_where=sa.text("state = 'queued' AND ready = 1"),
        postgresql_where=sa.text("state = 'queued' AND ready = 1"),
    )
    op.create_index(
        "ix_job_ended",
        "job",
        ["ended_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NOT NULL"),
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index("ix_job_owner", "job", ["owner", "seq"], unique=False)
    op.create_index(
        "ix_job_waiting",
        "job",
        ["not_before_at"],
        unique=False,
        sqlite_where=sa.text("state = 'retry_wait'"),
        postgresql_where=sa.text("state = 'retry_wait'"),
    )
    op.create_table(
        "spec",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.seq"], name=op.f("fk_spec_job")),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_spec")),
    )


def _attempts_and_events() -> None:
    op.create_table(
        "attempt",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.Float(precision=53), nullable=False),
        sa.Column("lease_until_at", sa.Float(precision=53), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=True),
        sa.Column("ended_at", sa.Float(precision=53), nullable=True),
        sa.Column("beat_at", sa.Float(precision=53), nullable=True),
        sa.Column("signal", sa.Text(), server_default="", nullable=False),
        sa.Column("acked_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.seq"], name=op.f("fk_attempt_job")),
        sa.PrimaryKeyConstraint("job", "epoch", name=op.f("pk_attempt")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "uq_attempt_open",
        "attempt",
        ["job"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "event",
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.seq"], name=op.f("fk_event_job")),
        sa.PrimaryKeyConstraint("cursor", name=op.f("pk_event")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_event_client",
        "event",
        ["client", "cursor"],
        unique=False,
        sqlite_where=sa.text("client <> ''"),
        postgresql_where=sa.text("client <> ''"),
    )
    op.create_index("ix_event_job", "event", ["job", "cursor"], unique=False)
    op.create_index(
        "uq_event_seq",
        "event",
        ["job", "epoch", "seq"],
        unique=True,
        sqlite_where=sa.text("seq > 0"),
        postgresql_where=sa.text("seq > 0"),
    )
    op.create_table(
        "history",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.seq"], name=op.f("fk_history_job")),
        sa.PrimaryKeyConstraint("job", "cursor", name=op.f("pk_history")),
        sqlite_with_rowid=False,
    )


def _blobs() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("present", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("unused_since_at", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blob")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_blob_unused",
        "blob",
        ["unused_since_at"],
        unique=False,
        sqlite_where=sa.text("unused_since_at IS NOT NULL"),
        postgresql_where=sa.text("unused_since_at IS NOT NULL"),
    )
    op.create_table(
        "reference",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blob.digest"], name=op.f("fk_reference_digest")),
        sa.ForeignKeyConstraint(["job"], ["job.seq"], name=op.f("fk_reference_job")),
        sa.PrimaryKeyConstraint("job", "digest", "role", name=op.f("pk_reference")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_reference_digest", "reference", ["digest"], unique=False)
    op.create_table(
        "upload",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("digest", "owner", name=op.f("pk_upload")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chunk",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("at_byte", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "segment", name=op.f("pk_chunk")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_chunk_segment", "chunk", ["segment"], unique=False)


def _money() -> None:
    op.create_table(
        "account",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("balance_ucredits", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spent_ucredits", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "balance_ucredits >= 0 OR (name NOT LIKE 'available:%' AND name NOT LIKE 'held:%')",
            name=op.f("ck_account_overdraft"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_account")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "posting",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_ucredits", sa.BigInteger(), nullable=False),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "amount_ucredits > 0 AND source <> target", name=op.f("ck_posting_amount")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posting")),
        sa.UniqueConstraint("key", name=op.f("uq_posting_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_posting_job",
        "posting",
        ["job"],
        unique=False,
        sqlite_where=sa.text("job IS NOT NULL"),
        postgresql_where=sa.text("job IS NOT NULL"),
    )
    op.create_index("ix_posting_source", "posting", ["source"], unique=False)
    op.create_index("ix_posting_target", "posting", ["target"], unique=False)


def _fleet() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("slots", sa.BigInteger(), nullable=False),
        sa.Column("connected", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("draining", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("seen_at", sa.Float(precision=53), nullable=False),
        sa.Column("python", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_index(
        "ix_worker_connected",
        "worker",
        ["id"],
        unique=False,
        sqlite_where=sa.text("connected = 1"),
        postgresql_where=sa.text("connected = 1"),
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("changed_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )
    op.create_index(
        "ix_instance_alive",
        "instance",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state <> 'terminated'"),
        postgresql_where=sa.text("state <> 'terminated'"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("expires_at", sa.Float(precision=53), nullable=True),
        sa.Column("revoked_at", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("hash", name=op.f("uq_token_hash")),
    )
    op.create_index("ix_token_owner", "token", ["owner"], unique=False)
