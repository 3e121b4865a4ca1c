"""Tables, and the invariants that the database itself guards.

No two open attempts of a job, no event twice, no posting twice, no negative balance, no charge
above the hold, no change of a terminal job and none of the ledger: each is refused by the schema,
whatever the code above it does.

Flags are integers 0 and 1, times are seconds since 1970-01-01 UTC, money is integer micro-credits.
What grows large (``spec``) lives apart from the job row, which every transition rewrites.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "0008"
"""The newest migration; ``migrations/versions`` holds the way there."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, **options: object) -> Column[str]:
    return Column(name, Text, nullable=False, **options)  # type: ignore[arg-type]


def _number(name: str, default: str | None = None) -> Column[int]:
    return Column(name, sa.BigInteger, nullable=False, server_default=default)


def _flag(name: str) -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default="0")


def _time(name: str, *, null: bool = True) -> Column[float]:
    return Column(name, Float(53), nullable=null)


def _only(condition: str) -> dict[str, Any]:
    """Options of an index over the rows that fulfil ``condition``."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


job = Table(
    "job",
    metadata,
    Column("seq", Integer, primary_key=True),  # newest is highest; rows refer to a job by it
    _text("id"),
    _text("owner"),
    _text("client"),
    _text("kind"),
    _text("description"),
    _text("visibility"),
    _text("machine"),
    _flag("simulated"),
    _text("body_digest"),
    Column("timeout_s", Float(53)),
    Column("max_run_s", Float(53), nullable=False),
    Column("max_cost_ucredits", sa.BigInteger),
    Column("memory_bytes", sa.BigInteger),
    _number("max_attempts"),
    _number("retries"),
    _number("rate_ucredits_per_h"),
    _number("hold_ucredits"),
    Column("batch", Text),
    _time("submitted_at", null=False),
    Column("summary", LargeBinary),
    _text("code_digest", server_default=""),
    _text("session", server_default=""),  # kind session: its name; cells: the id of theirs
    _text("notebook", server_default=""),  # that it comes from, as its client calls it
    _text("cell", server_default=""),  # of that notebook, by its id
    _text("cell_code", server_default=""),  # check sum of its text
    _text("code_key", server_default=""),  # of its code, normalised; empty: not known
    _number("inputs_bytes", "0"),
    _text("fuse", server_default=""),  # what bounds its cost: "max_cost", or the name of a budget
    _text("priced_on", server_default=""),
    Column("resumes", Text),  # id of the job whose checkpoint it was given
    Column("cached_from", Text),  # id of the job whose result it was given
    _number("saved_ucredits", "0"),  # by taking that result
    Column("estimate", LargeBinary),
    _number("gpus", "0"),  # of its machine's, that are its own; 0: all of them
    # From here on: what transitions change.
    _text("state"),
    _flag("cancel_requested"),
    _text("reason", server_default=""),
    _text("detail", server_default=""),
    _text("stage", server_default=""),
    _number("epoch", "0"),
    _number("starts", "0"),
    _number("cost_ucredits", "0"),
    _flag("ready"),
    Column("worker", Text),
    _time("not_before_at"),
    _time("claimed_at"),
    _time("started_at"),
    _time("ended_at"),
    _time("cancel_requested_at"),
    _flag("cancel_forced"),
    _flag("cancel_saves"),
    _time("kill_at"),
    Column("result", LargeBinary),
    Column("error", LargeBinary),
    Column("progress", LargeBinary),
    Column("metrics", LargeBinary),
    Column("log", LargeBinary),
    _time("warned_at"),
    Column("checkpoint", LargeBinary),
    Column("receipt", LargeBinary),
    _number("preemptions", "0"),  # how often its machine was taken away
    _text("devices", server_default=""),  # GPUs of its machine that its latest attempt has
    UniqueConstraint("id"),
    CheckConstraint("cost_ucredits >= 0 AND cost_ucredits <= hold_ucredits", name="charge"),
)
Index("ix_job_owner", job.c.owner, job.c.seq)
Index("ix_job_queued", job.c.owner, job.c.state, **_only("state IN ('queued', 'retry_wait')"))
Index("ix_job_batch", job.c.batch, **_only("batch IS NOT NULL"))
# Claims and snapshots read only these small indexes, however many jobs have ended.
Index(
    "ix_job_claimable",
    job.c.seq,
    **_only("state = 'queued' AND ready = 1"),
)
# Single jobs are read before calls of batches.
Index(
    "ix_job_single",
    job.c.seq,
    **_only("state = 'queued' AND ready = 1 AND batch IS NULL"),
)
# Earlier runs, for estimates: of the same code, of the same notebook, of the same kind.
Index(
    "ix_job_code_key",
    job.c.owner,
    job.c.code_key,
    **_only("state = 'succeeded' AND code_key <> ''"),
)
Index(
    "ix_job_notebook",
    job.c.owner,
    job.c.notebook,
    **_only("notebook <> ''"),
)
Index(
    "ix_job_kind",
    job.c.owner,
    job.c.kind,
    **_only("state = 'succeeded' AND batch IS NULL"),
)
# One session of each name at a time.
Index(
    "uq_job_session",
    job.c.owner,
    job.c.session,
    unique=True,
    **_only("kind = 'session' AND ended_at IS NULL"),
)
Index(
    "ix_job_waiting",
    job.c.not_before_at,
    **_only("state = 'retry_wait'"),
)
Index(
    "ix_job_ended",
    job.c.ended_at,
    **_only("ended_at IS NOT NULL"),
)

spec = Table(
    "spec",
    metadata,
    Column("job", ForeignKey("job.seq"), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("asked", LargeBinary),  # JSON of wire.CacheAsk, of a job whose result is to be kept
)

attempt = Table(
    "attempt",
    metadata,
    Column("job", ForeignKey("job.seq"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    _text("worker"),
    _text("state"),
    _time("claimed_at", null=False),
    _time("lease_until_at", null=False),
    _time("started_at"),
    _time("ended_at"),
    _time("beat_at"),
    _text("signal", server_default=""),
    _number("acked_seq", "0"),
    sqlite_with_rowid=False,
)
Index(
    "uq_attempt_open",
    attempt.c.job,
    unique=True,
    **_only("ended_at IS NULL"),
)

event = Table(
    "event",
    metadata,
    Column("cursor", Integer, primary_key=True),
    Column("job", ForeignKey("job.seq"), nullable=False),
    _text("client"),
    _number("epoch"),
    _number("seq"),
    _text("type"),
    Column("data", LargeBinary, nullable=False),
    _time("at", null=False),
    sqlite_autoincrement=True,  # a cursor is never used again, also after old events are forgotten
)
Index("ix_event_job", event.c.job, event.c.cursor)
Index(
    "ix_event_client",
    event.c.client,
    event.c.cursor,
    **_only("client <> ''"),
)
Index(
    "uq_event_seq",
    event.c.job,
    event.c.epoch,
    event.c.seq,
    unique=True,
    **_only("seq > 0"),
)

history = Table(
    "history",
    metadata,
    Column("job", ForeignKey("job.seq"), primary_key=True),
    Column("cursor", Integer, primary_key=True),  # of the event that told of it
    _time("at", null=False),
    _text("event"),
    _text("text"),
    _number("epoch"),
    sqlite_with_rowid=False,
)

blob = Table(
    "blob",
    metadata,
    _text("digest", primary_key=True),
    _number("size_bytes"),
    _flag("present"),
    _time("unused_since_at"),
    sqlite_with_rowid=False,
)
Index(
    "ix_blob_unused",
    blob.c.unused_since_at,
    **_only("unused_since_at IS NOT NULL"),
)

reference = Table(
    "reference",
    metadata,
    Column("job", ForeignKey("job.seq"), primary_key=True),
    Column("digest", ForeignKey("blob.digest"), primary_key=True),
    Column("role", Text, primary_key=True),  # input, result, log, checkpoint
    sqlite_with_rowid=False,
)
Index("ix_reference_digest", reference.c.digest)

upload = Table(
    "upload",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    _time("at", null=False),
    sqlite_with_rowid=False,
)

chunk = Table(
    "chunk",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("segment", Text, primary_key=True),
    _number("at_byte"),
    _number("size_bytes"),
    sqlite_with_rowid=False,
)
Index("ix_chunk_segment", chunk.c.segment)

account = Table(
    "account",
    metadata,
    _text("name", primary_key=True),
    _number("balance_ucredits", "0"),
    _number("spent_ucredits", "0"),  # captured out of it, for held accounts
    CheckConstraint(
        "balance_ucredits >= 0 OR (name NOT LIKE 'available:%' AND name NOT LIKE 'held:%')",
        name="overdraft",
    ),
    sqlite_with_rowid=False,
)

# Double entry by construction: one row is both sides, so that they add up to zero.
posting = Table(
    "posting",
    metadata,
    Column("id", Integer, primary_key=True),
    _time("at", null=False),
    _text("source"),  # the account that it leaves
    _text("target"),
    _text("kind"),
    _number("amount_ucredits"),
    Column("job", Text),
    Column("epoch", Integer),
    _text("notebook", server_default=""),  # of the job
    _text("key"),  # "hold:<job>", "capture:<job>:<epoch>", …: each is posted once
    UniqueConstraint("key"),
    CheckConstraint("amount_ucredits > 0 AND source <> target", name="amount"),
    sqlite_autoincrement=True,
)
Index("ix_posting_source", posting.c.source)
Index("ix_posting_target", posting.c.target)
# What was charged since a time, without a look at the rows.
Index(
    "ix_posting_capture",
    posting.c.source,
    posting.c.at,
    posting.c.kind,
    posting.c.amount_ucredits,
    **_only("kind = 'capture'"),
)
Index("ix_posting_job", posting.c.job, **_only("job IS NOT NULL"))

# Results that were kept to be taken again: the job is not forgotten as long as its row is here.
cache = Table(
    "cache",
    metadata,
    _text("owner", primary_key=True),
    _text("key", primary_key=True),  # of code, what it uses, inputs and environment
    Column("job", ForeignKey("job.seq"), nullable=False),
    _text("name"),  # of the function or cell: an entry of the same name explains a miss
    _text("code_key"),
    Column("parts", LargeBinary, nullable=False),  # JSON: what the key is made of
    _number("size_bytes"),
    _number("cost_ucredits"),  # of the run that made it
    Column("run_s", Float(53), nullable=False),
    _number("hits", "0"),
    _number("saved_ucredits", "0"),
    _time("created_at", null=False),
    _time("used_at", null=False),
    sqlite_with_rowid=False,
)
Index("ix_cache_name", cache.c.owner, cache.c.name, cache.c.created_at)
Index("ix_cache_job", cache.c.job)

# What an owner may spend: in all, a day, or for one notebook.
budget = Table(
    "budget",
    metadata,
    _text("owner", primary_key=True),
    _text("scope", primary_key=True),  # account, day, notebook
    _text("name", primary_key=True),  # of the notebook; empty for the others
    _number("limit_ucredits"),
    _number("spent_ucredits", "0"),  # these two follow the ledger, so that no submit adds it up
    _number("held_ucredits", "0"),
    _text("day", server_default=""),  # scope day: the latest of UTC on which money moved
    _time("set_at", null=False),
    sqlite_with_rowid=False,
)

# Results that others may open by an address, until it is revoked.
share = Table(
    "share",
    metadata,
    _text("id", primary_key=True),  # results_uuid
    _text("job"),  # its id
    _text("owner"),
    _text("visibility"),  # unlisted, public
    _time("created_at", null=False),
    _time("revoked_at"),
    sqlite_with_rowid=False,
)
Index("ix_share_job", share.c.job)
# One address of each job at a time.
Index(
    "uq_share_open",
    share.c.job,
    unique=True,
    **_only("revoked_at IS NULL"),
)
Index(
    "ix_share_public",
    share.c.created_at,
    share.c.id,
    **_only("visibility = 'public' AND revoked_at IS NULL"),
)

worker = Table(
    "worker",
    metadata,
    _text("id", primary_key=True),
    _text("instance"),
    _text("machine"),
    _number("slots"),
    _flag("connected"),
    _flag("draining"),
    _time("seen_at", null=False),
    _text("python"),
    _text("platform"),
    _text("token", server_default=""),  # id of the token that it said hello with: it alone may
)
Index("ix_worker_connected", worker.c.id, **_only("connected = 1"))
Index("ix_worker_token", worker.c.token)

instance = Table(
    "instance",
    metadata,
    _text("id", primary_key=True),
    _text("provider"),
    _text("machine"),
    _text("state"),
    _text("provider_id"),
    _time("created_at", null=False),
    _time("changed_at", null=False),
    _text("owner", server_default=""),
    _text("job", server_default=""),
    _text("zone", server_default=""),
    _flag("spot"),
    _number("rate_ucredits_per_h", "0"),
    _time("ready_at"),
    _text("step", server_default=""),
    _text("detail", server_default=""),
    Column("boot_log", LargeBinary),
)
Index("ix_instance_alive", instance.c.id, **_only("state <> 'terminated'"))
Index("ix_instance_created", instance.c.created_at, instance.c.id)
Index("ix_instance_owner", instance.c.owner, instance.c.created_at, instance.c.id)
Index("ix_instance_job", instance.c.job, instance.c.created_at, instance.c.id)

token = Table(
    "token",
    metadata,
    _text("id", primary_key=True),
    _text("hash"),
    _text("owner"),
    _text("scopes"),  # comma-separated
    _text("label"),
    _time("created_at", null=False),
    _time("expires_at"),
    _time("revoked_at"),
    UniqueConstraint("hash"),
)
Index("ix_token_owner", token.c.owner)

# SQLite's; another database says the same in its own words.
TRIGGERS = [
    (
        "CREATE TRIGGER posting_is_never_changed BEFORE UPDATE ON posting "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    ),
    (
        "CREATE TRIGGER posting_is_never_deleted BEFORE DELETE ON posting "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    ),
    (
        "CREATE TRIGGER job_that_ended_stays BEFORE UPDATE ON job "
        "WHEN OLD.state IN ('succeeded', 'failed', 'cancelled', 'expired') "
        "BEGIN SELECT RAISE(ABORT, 'a terminal job does not change'); END"
    ),
]
