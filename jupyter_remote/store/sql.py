"""The statements, by noun. SQLAlchemy Core, so that SQLite and Postgres run the same ones."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from jupyter_remote.store.records import ATTEMPT, JOB_LEAN, JOB_WHOLE, MUTABLE
from jupyter_remote.store.schema import (
    account,
    attempt,
    blob,
    cache,
    chunk,
    event,
    history,
    instance,
    job,
    posting,
    reference,
    share,
    spec,
    token,
    upload,
    worker,
)


def _lit(value: str | int) -> sa.ColumnClause[Any]:
    """Written into the SQL: a partial index is used only for a condition that is spelt out."""
    return literal_column(f"'{value}'" if isinstance(value, str) else str(value))


def _p(name: str) -> sa.BindParameter[Any]:
    return bindparam(name)


def _given(name: str, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """``column`` equals the parameter, unless that is NULL."""
    value = sa.cast(_p(name), sa.Text)
    return sa.or_(value.is_(None), column == value)


def _all(table: sa.Table) -> sa.Insert:
    return insert(table).values({c: _p(c.name) for c in table.c})


def _proven(digest: sa.ColumnElement[Any], owner: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Has ``owner`` shown to have these bytes: sent them, or has a job that had them?

    A job that still waits for its inputs shows nothing: whoever submits it may know no more than
    a digest.
    """
    one, its_job = reference.alias(), job.alias()
    sent = sa.exists().where(upload.c.digest == digest, upload.c.owner == owner)
    had = sa.exists().where(
        one.c.digest == digest,
        its_job.c.seq == one.c.job,
        its_job.c.owner == owner,
        sa.or_(one.c.role != _lit("input"), its_job.c.ready == _lit(1)),
    )
    return sa.or_(sent, had)


def _row_of(table: sa.Table, *without: str) -> sa.Insert:
    return insert(table).values({c: _p(c.name) for c in table.c if c.name not in without})


# --- jobs ------------------------------------------------------------------------------------
_lean = select(*JOB_LEAN)
_whole = select(*JOB_WHOLE).join_from(job, spec)

ADD_JOB = _row_of(job, "seq")
ADD_SPEC = _all(spec)
SPEC = select(spec.c.data).where(spec.c.job == _p("job"))
JOB = _lean.where(job.c.id == _p("id"))
WHOLE_JOB = _whole.where(job.c.id == _p("id"))
WHOLE_JOB_BY_SEQ = _whole.where(job.c.seq == _p("seq"))
JOB_BY_SEQ = _lean.where(job.c.seq == _p("seq"))
SAVE_JOB = (
    update(job)
    .where(job.c.seq == _p("seq"), job.c.epoch == _p("old_epoch"), job.c.state == _p("old_state"))
    .values({job.c[name]: _p(name) for name in MUTABLE})
)
BODY = select(job.c.body_digest, job.c.owner).where(job.c.id == _p("id"))
SEQ = select(job.c.seq).where(job.c.id == _p("id"))
FIND = (
    _lean.where(job.c.id >= _p("low"), job.c.id < _p("high"), job.c.owner == _p("owner"))
    .order_by(job.c.seq.desc())
    .limit(_p("limit"))
    .offset(_lit(0))
)
_sessions = _lean.where(
    job.c.owner == _p("owner"), job.c.kind == _lit("session")
).order_by(job.c.seq.desc())  # fmt: skip
SESSIONS = _sessions.where(job.c.ended_at.is_(None))
SESSION = SESSIONS.where(job.c.session == _p("session"))
LAST_SESSION = (
    _sessions.where(job.c.session == _p("session")).limit(_p("limit")).offset(_lit(0))
)  # fmt: skip
_queued = _lean.where(job.c.state == _lit("queued"), job.c.ready == _lit(1)).order_by(job.c.seq)
QUEUED_SINGLE = _queued.where(job.c.batch.is_(None)).limit(_p("limit")).offset(_lit(0))
QUEUED_BATCH = _queued.where(job.c.batch.is_not(None)).limit(_p("limit")).offset(_lit(0))
WAITING = (
    _lean.where(job.c.state == _lit("retry_wait"))
    .order_by(job.c.not_before_at)
    .limit(_p("limit"))
    .offset(_lit(0))
)
DUE = _lean.where(job.c.state == _lit("retry_wait"), job.c.not_before_at <= _p("now")).order_by(
    job.c.not_before_at
)
_open = attempt.c.ended_at.is_(None)
ACTIVE = _lean.join_from(attempt, job).where(_open).order_by(job.c.seq)
_past_runs = (
    select(
        job.c.ended_at - job.c.started_at,
        *(
            job.c[n]
            for n in ("machine", "inputs_bytes", "code_key", "notebook", "kind", "ended_at")
        ),
        job.c.metrics,
    )
    .where(
        job.c.owner == _p("owner"),
        job.c.state == _lit("succeeded"),
        job.c.started_at.is_not(None),
        job.c.cached_from.is_(None),
        job.c.resumes.is_(None),  # as JobRecord.ran_whole
        sa.or_(job.c.checkpoint.is_(None), job.c.starts <= _lit(1)),
    )
    .order_by(job.c.seq.desc())
    .limit(_p("limit"))
    .offset(_lit(0))
)
PAST_RUNS = {
    "code_key": _past_runs.where(job.c.code_key == _p("code_key"), job.c.code_key != _lit("")),
    "notebook": _past_runs.where(job.c.notebook == _p("notebook"), job.c.notebook != _lit("")),
    "kind": _past_runs.where(job.c.kind == _p("kind"), job.c.batch.is_(None)),
}
ENDED = (
    select(job.c.seq)
    .where(job.c.ended_at < _p("before"), ~sa.exists().where(cache.c.job == job.c.seq))
    .order_by(job.c.ended_at)
    .limit(_p("limit")).offset(_lit(0))
)  # fmt: skip
_id = select(job.c.id).where(job.c.seq == _p("job"))
FORGET = [
    delete(event).where(event.c.job == _p("job")),
    delete(history).where(history.c.job == _p("job")),
    delete(attempt).where(attempt.c.job == _p("job")),
    delete(reference).where(reference.c.job == _p("job")),
    delete(share).where(
        share.c.job == select(job.c.id).where(job.c.seq == _p("job")).scalar_subquery()
    ),
    delete(spec).where(spec.c.job == _p("job")),
    delete(job).where(job.c.seq == _p("job")),
]

# --- attempts --------------------------------------------------------------------------------
ADD_ATTEMPT = _row_of(attempt, "acked_seq")
ATTEMPTS = select(*ATTEMPT).where(attempt.c.job == _p("job")).order_by(attempt.c.epoch)
ATTEMPT_AT = select(*ATTEMPT).where(attempt.c.job == _p("job"), attempt.c.epoch == _p("epoch"))
OPEN_ATTEMPTS = select(*ATTEMPT, job.c.id).join_from(attempt, job).where(_open).order_by(job.c.seq)
SAVE_ATTEMPT = (
    update(attempt)
    .where(attempt.c.job == _p("job"), attempt.c.epoch == _p("epoch_is"), _open)
    .values(
        {
            attempt.c[name]: _p(name)
            for name in ("state", "lease_until_at", "started_at", "ended_at", "beat_at", "signal")
        }
    )
)
BEAT = (
    update(attempt)
    .where(attempt.c.job == _p("job"), attempt.c.epoch == _p("epoch_is"), _open)
    .values(
        state=_p("state"),
        lease_until_at=_p("lease_until_at"),
        beat_at=_p("beat_at"),
        acked_seq=_p("acked_seq"),
    )
)
RENEW_LEASES = update(attempt).where(_open).values(lease_until_at=_p("lease_until_at"))
ACKED = select(attempt.c.acked_seq).where(
    attempt.c.job == _p("job"), attempt.c.epoch == _p("epoch")
)
EXPIRED_LEASES = _lean.join_from(attempt, job).where(_open, attempt.c.lease_until_at <= _p("now"))

# --- events and history ----------------------------------------------------------------------
ADD_EVENT = _row_of(event, "cursor")
ADD_HISTORY = _all(history)
HISTORY = (
    select(history.c.at, history.c.event, history.c.text, history.c.epoch)
    .join_from(history, job)
    .where(job.c.id == _p("id"))
    .order_by(history.c.cursor)
)
_events = (
    select(
        event.c.cursor, job.c.id, event.c.epoch, event.c.seq, event.c.type, event.c.data,
        event.c.at,
    )
    .join_from(event, job)
    .where(event.c.cursor > _p("after"), _given("owner", job.c.owner))
    .order_by(event.c.cursor)
    .limit(_p("limit")).offset(_lit(0))
)  # fmt: skip
EVENTS = _events.where(_given("client", event.c.client))
EVENTS_OF_JOB = EVENTS.where(event.c.job == _p("job"))
EVENTS_OF_CLIENT = _events.where(event.c.client == _p("client"), event.c.client != _lit(""))
SEQS = select(event.c.seq).where(
    event.c.job == _p("job"),
    event.c.epoch == _p("epoch"),
    event.c.seq > _lit(0),
    event.c.seq >= _p("low"),
    event.c.seq <= _p("high"),
)
LAST_CURSOR = select(func.max(event.c.cursor))

# --- money -----------------------------------------------------------------------------------
ADD_POSTING = _row_of(posting, "id")
POSTED = select(posting.c.id).where(posting.c.key == _p("key"))
POSTED_FOR = select(posting.c.id).where(posting.c.job == _p("job"))
POSTED_OF_ATTEMPTS = select(posting.c.kind, posting.c.epoch, posting.c.amount_ucredits).where(
    posting.c.job == _p("job"), posting.c.epoch.is_not(None)
)
ADD_ACCOUNT = _all(account)
DEBIT = (
    update(account)
    .where(account.c.name == _p("name_is"))
    .values(
        balance_ucredits=account.c.balance_ucredits - _p("amount"),
        spent_ucredits=account.c.spent_ucredits + _p("spent"),
    )
)
CREDIT = (
    update(account)
    .where(account.c.name == _p("name_is"))
    .values(balance_ucredits=account.c.balance_ucredits + _p("amount"))
)
ACCOUNT = select(account.c.balance_ucredits, account.c.spent_ucredits).where(
    account.c.name == _p("name")
)
ENTRIES = (
    select(
        posting.c.id, posting.c.at, posting.c.source, posting.c.target, posting.c.kind,
        posting.c.amount_ucredits, posting.c.job, posting.c.epoch, job.c.description,
    )
    .join_from(posting, job, job.c.id == posting.c.job, isouter=True)
    .where(
        sa.or_(
            posting.c.source.in_([_p("available"), _p("held")]),
            posting.c.target.in_([_p("available"), _p("held")]),
        )
    )
    .order_by(posting.c.id.desc())
    .limit(_p("limit")).offset(_lit(0))
)  # fmt: skip

# --- blobs -----------------------------------------------------------------------------------
BLOB = select(blob.c.size_bytes, blob.c.present, blob.c.unused_since_at).where(
    blob.c.digest == _p("digest")
)
ADD_BLOB = _all(blob)
MARK_PRESENT = (
    update(blob)
    .where(blob.c.digest == _p("digest_is"))
    .values(present=_lit(1), size_bytes=_p("size_bytes"))
)
MARK_ABSENT = update(blob).where(blob.c.digest == _p("digest_is")).values(present=_lit(0))
MARK_USED = update(blob).where(blob.c.digest == _p("digest_is")).values(unused_since_at=sa.null())
MARK_UNUSED = (
    update(blob)
    .where(
        blob.c.digest == _p("digest_is"),
        ~sa.exists().where(reference.c.digest == blob.c.digest),
    )
    .values(unused_since_at=_p("now"))
)
UNUSED = select(blob.c.digest).where(blob.c.unused_since_at <= _p("before"))
FORGET_BLOB = [
    delete(blob).where(blob.c.digest == _p("digest")),
    delete(chunk).where(chunk.c.segment == _p("digest")),
    delete(upload).where(upload.c.digest == _p("digest")),
]
REFERENCES = select(func.count()).where(reference.c.digest == _p("digest"))
ADD_REFERENCE = _all(reference)
REFERRED = select(reference.c.digest).where(
    reference.c.job == _p("job"), reference.c.digest == _p("digest"), reference.c.role == _p("role")
)
DIGESTS = select(reference.c.digest).distinct().where(reference.c.job == _p("job"))
_of_role = (reference.c.job == _p("job"), reference.c.role == _p("role"))
DIGESTS_OF_ROLE = select(reference.c.digest).where(*_of_role)
FORGET_ROLE = delete(reference).where(*_of_role)
WAITING_FOR = (
    _lean.join_from(reference, job)
    .where(
        reference.c.digest == _p("digest"),
        reference.c.role == _lit("input"),
        job.c.state == _lit("queued"),
        job.c.ready == _lit(0),
    )
    .order_by(job.c.seq)
)
STILL_MISSING = (
    select(func.count())
    .select_from(reference.join(blob).join(job, job.c.seq == reference.c.job))
    .where(
        reference.c.job == _p("job"),
        reference.c.role == _lit("input"),
        sa.or_(blob.c.present == _lit(0), ~_proven(reference.c.digest, job.c.owner)),
    )
)
CHUNK_PLACE = (
    select(chunk.c.segment, chunk.c.at_byte, chunk.c.size_bytes)
    .join_from(chunk, blob, chunk.c.segment == blob.c.digest)
    .where(
        chunk.c.digest == _p("digest"),
        blob.c.present == _lit(1),
        _proven(chunk.c.segment, _p("owner")),
    )
    .limit(_lit(1))
    .offset(_lit(0))
)
CHUNK_KNOWN = select(chunk.c.digest).where(
    chunk.c.digest == _p("digest"), chunk.c.segment == _p("segment")
)
ADD_CHUNK = _all(chunk)
UPLOADED = select(upload.c.digest).where(
    upload.c.digest == _p("digest"), upload.c.owner == _p("owner")
)
ADD_UPLOAD = _all(upload)
PROVEN = select(_lit(1)).where(_proven(_p("digest"), _p("owner")))

# --- workers, instances, tokens --------------------------------------------------------------
WORKERS = select(worker).where(worker.c.connected == _lit(1)).order_by(worker.c.id)
WORKER = select(worker).where(worker.c.id == _p("id"))
WORKER_TOKEN = select(worker.c.token).where(worker.c.id == _p("id"))
WORKER_WITH_TOKEN = select(worker.c.id).where(worker.c.token == _p("token"))
ADD_WORKER = _all(worker)
SAVE_WORKER = (
    update(worker)
    .where(worker.c.id == _p("id_is"))
    .values({c: _p(c.name) for c in worker.c if c.name != "id"})
)
WORKER_GONE = (
    update(worker)
    .where(worker.c.id == _p("id_is"))
    .values(connected=_lit(0), seen_at=_p("seen_at"))
)
WORKERS_GONE = (
    update(worker)
    .where(worker.c.connected == _lit(1), worker.c.instance == _p("instance_is"))
    .values(connected=_lit(0), seen_at=_p("seen_at"))
)
FORGET_FLEET = [
    delete(worker).where(worker.c.connected == _lit(0), worker.c.seen_at < _p("before")),
    delete(instance).where(
        instance.c.state == _lit("terminated"), instance.c.changed_at < _p("before")
    ),
    delete(token).where((token.c.revoked_at < _p("before")) | (token.c.expires_at < _p("before"))),
]
INSTANCES = select(instance).where(instance.c.state != _lit("terminated")).order_by(instance.c.id)
INSTANCE = select(instance).where(instance.c.id == _p("id"))
ADD_INSTANCE = _all(instance)
SAVE_INSTANCE = (
    update(instance)
    .where(instance.c.id == _p("id_is"))
    .values({c: _p(c.name) for c in instance.c if c.name != "id"})
)
_token = select(
    token.c.id, token.c.owner, token.c.scopes, token.c.label, token.c.created_at,
    token.c.expires_at, token.c.revoked_at,
)  # fmt: skip
ADD_TOKEN = _all(token)
TOKEN = _token.where(token.c.hash == _p("hash"))
FORGET_TOKEN = delete(token).where(token.c.id == _p("id"))
TOKENS = _token.where(token.c.owner == _p("owner")).order_by(token.c.created_at, token.c.id)
REVOKE = (
    update(token)
    .where(token.c.id == _p("id_is"), token.c.owner == _p("owner_is"))
    .values(revoked_at=func.coalesce(token.c.revoked_at, _p("now")))
)
