"""Submitting, finding and forgetting jobs."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from msgspec.structs import replace

from jupyter_remote.errors import Conflict, KeyReused
from jupyter_remote.model import (
    AttemptRecord,
    History,
    JobId,
    JobRecord,
    JobState,
    OwnerId,
    PastRun,
    Reason,
    Stage,
)
from jupyter_remote.store import (
    blobs,
    budgets,
    cache,
    kept_sql,
    money,
    schema,
    shares,
    sql,
    views,
    words,
)
from jupyter_remote.store.apply import add_event, load, told
from jupyter_remote.store.base_parts import NewJob, Snapshot, Written
from jupyter_remote.store.charges import hold_of
from jupyter_remote.store.records import (
    JOB_LEAN,
    Stored,
    attempt_of,
    history_of,
    instance_of,
    job_of,
    mutable_of,
    past_run_of,
    worker_of,
)
from jupyter_remote.store.session import Session
from jupyter_remote.wire import Event, encode

HIGHEST_CHARACTER = "\U0010ffff"


def submit(session: Session, new: NewJob, now: float) -> Written:
    """Write one job with its hold, unless it is there already."""
    there = session.row(sql.BODY, id=new.id)
    if there is not None:
        if there != (new.body_digest, new.owner):
            raise _reused(f"the job id {new.id} was used for another request")
        job = load(session, new.id, whole=True).job
        taken = job.cached_from is not None  # it waits for nothing
        missing = [] if taken else blobs.missing(session, new.segments, new.owner)
        return Written(job, False, missing)
    return _write(session, new, now)


def _reused(what: str) -> KeyReused:
    hint = "Make a new id for each job; send the same id only to repeat a request."
    return KeyReused(what, hint=hint)


def _write(session: Session, new: NewJob, now: float) -> Written:
    if new.kind == "session":
        _check_name(session, new)
    found = cache.look(session, new) if new.cache is not None else ""
    if isinstance(found, cache.Hit):
        return _taken(session, new, found, now)
    missing = blobs.missing(session, new.segments, new.owner)
    new, budgeted = budgets.fit(session, new, now)
    job = _record_of(new, now, ready=not missing)
    money.admit(session, job.owner, job.hold_ucredits)
    if job.hold_ucredits and session.row(sql.POSTED_FOR, job=job.id):
        raise _reused(f"the job id {job.id} was used for a job that was forgotten since")
    stored = Stored(_insert(session, job, new), job)
    for segment in new.segments:
        blobs.refer(session, stored.seq, segment, "input")
    for posting in hold_of(job):
        money.post(session, posting, now, job)
        if budgeted:
            budgets.move(session, job, [posting], now)
    if new.results_id:
        shares.open_at(session, new.results_id, job, job.visibility, now)
    why = f"not in the cache: {found}" if found else ""
    text = "; ".join(filter(None, (words.submitted(job, len(missing)), new.note, why)))
    [event] = told(session, stored, "submit", text, now).events
    told_too = new.cache is not None and new.cache.is_told and why
    more = [_notice(session, stored, why, now)] if told_too else []
    return Written(job, True, missing, event, more)


def _notice(session: Session, stored: Stored, text: str, now: float) -> Event:
    return add_event(session, stored, "notice", encode({"text": text}), now)


def _taken(session: Session, new: NewJob, hit: cache.Hit, now: float) -> Written:
    """With the result of another job, at once."""
    assert new.cache is not None
    key, new = new.cache.key, cache.as_taken(new, hit)
    job = _record_of(new, now, ready=True)
    job = replace(job, cached_from=hit.source.job.id, saved_ucredits=hit.cost_ucredits)
    stored = Stored(_insert(session, job, replace(new, cache=None)), job)
    if new.results_id:
        shares.open_at(session, new.results_id, job, job.visibility, now)
    [event] = told(session, stored, "submit", "queued", now).events
    more = cache.take(session, stored, hit, key, now)
    return Written(load(session, new.id, whole=True).job, True, [], event, more)


def _check_name(session: Session, new: NewJob) -> None:
    if (row := session.row(sql.SESSION, owner=new.owner, session=new.session)) is not None:
        raise Conflict(
            f"there is a session {new.session!r} already: job {job_of(row).id}",
            hint="use that one, or stop it first",
        )


def sessions(session: Session, owner: OwnerId, name: str) -> list[JobRecord]:
    """Those that are not over, newest first; with a name the latest of that name."""
    if name:
        rows = session.rows(sql.LAST_SESSION, owner=owner, session=name, limit=1)
        return [job_of(row) for row in rows]
    return [job_of(row) for row in session.rows(sql.SESSIONS, owner=owner)]


def _insert(session: Session, job: JobRecord, new: NewJob) -> int:
    limits = job.limits
    values = {name: getattr(job, name) for name in _INSERTED} | mutable_of(job)
    seq = session.insert(
        sql.ADD_JOB,
        body_digest=new.body_digest,
        timeout_s=limits.timeout_s,
        max_run_s=limits.max_run_s,
        max_cost_ucredits=limits.max_cost_ucredits,
        memory_bytes=limits.memory_bytes,
        **values,
    )
    asked = encode(new.cache) if new.cache is not None else None
    session.insert(sql.ADD_SPEC, job=seq, data=job.spec, asked=asked)
    return seq


_INSERTED = [
    column.name
    for column in schema.job.c
    if column.name in JobRecord.__struct_fields__
]  # fmt: skip


def _record_of(new: NewJob, now: float, *, ready: bool) -> JobRecord:
    summary = views.summary_of(new.spec, new.offer)
    return JobRecord(
        id=new.id,
        owner=new.owner,
        client=new.client,
        kind=new.kind,
        state=JobState.QUEUED,
        cancel_requested=False,
        reason=Reason.NONE,
        detail="",
        stage=Stage.WAITING if ready else Stage.SENDING_INPUTS,
        description=new.description,
        visibility=new.visibility,
        machine=new.machine,
        simulated=new.simulated,
        spec=new.spec,
        limits=new.limits,
        epoch=0,
        starts=0,
        max_attempts=new.max_attempts,
        retries=new.retries,
        rate_ucredits_per_h=new.rate_ucredits_per_h,
        hold_ucredits=new.hold_ucredits,
        cost_ucredits=0,
        submitted_at=now,
        ready=ready,
        batch=new.batch,
        session=new.session,
        summary=encode(summary),
        code_digest=summary.code_digest,
        notebook=new.notebook,
        cell=new.cell,
        cell_code=new.cell_code,
        code_key=new.code_key,
        inputs_bytes=new.inputs_bytes,
        fuse=new.fuse,
        priced_on=new.priced_on,
        gpus=new.gpus,
        resumes=new.resumes,
        estimate=new.estimate,
    )


def find(session: Session, prefix: str, owner: OwnerId, limit: int) -> list[JobRecord]:
    """By the beginning of the id, newest first."""
    high = prefix + HIGHEST_CHARACTER
    rows = session.rows(sql.FIND, low=prefix, high=high, owner=owner, limit=limit)
    return [job_of(row) for row in rows]


def listed(
    session: Session,
    owner: OwnerId,
    states: Sequence[JobState] | None,
    client: str | None,
    batch: str | None,
    notebook: str | None,
    ids: Sequence[JobId] | None,
    limit: int,
    before: str,
) -> list[JobRecord]:
    """Newest first; ``before`` is the id of the last job of the page before."""
    job = schema.job
    query = sa.select(*JOB_LEAN).where(job.c.owner == owner)
    if states is not None:
        query = query.where(job.c.state.in_([state.value for state in states]))
    if client is not None:
        query = query.where(job.c.client == client)
    if batch is not None:
        query = query.where(job.c.batch == batch)
    if notebook is not None:
        query = query.where(job.c.notebook == notebook, job.c.notebook != "")
    if ids is not None:
        query = query.where(job.c.id.in_(ids))
    if before:
        query = query.where(job.c.seq < load(session, JobId(before), owner=owner).seq)
    rows = session.adhoc(query.order_by(job.c.seq.desc()).limit(limit))
    return [job_of(row) for row in rows]


def past_runs(
    session: Session, owner: OwnerId, code_key: str, notebook: str, kind: str, limit: int
) -> list[PastRun]:
    """The latest that succeeded, newest first, of the first of the three that is given."""
    given = {"code_key": code_key, "notebook": notebook, "kind": kind}
    name = next((name for name, value in given.items() if value), None)
    if name is None:
        return []
    statement = sql.PAST_RUNS[name]
    rows = session.rows(statement, owner=owner, limit=limit, **{name: given[name]})
    return [past_run_of(row) for row in rows]


def history(session: Session, job: JobId) -> list[History]:
    """What happened, in order."""
    return [history_of(row) for row in session.rows(sql.HISTORY, id=job)]


def snapshot(session: Session, limit: int) -> Snapshot:
    """What the scheduler decides on, all of one moment."""
    queued = session.rows(sql.QUEUED_SINGLE, limit=limit)
    queued += session.rows(sql.QUEUED_BATCH, limit=limit - len(queued))
    return Snapshot(
        queued=[job_of(row) for row in queued],
        waiting=[job_of(row) for row in session.rows(sql.WAITING, limit=limit)],
        active=[job_of(row) for row in session.rows(sql.ACTIVE)],
        attempts=open_attempts(session),
        workers=[worker_of(row) for row in session.rows(sql.WORKERS)],
        instances=[instance_of(row) for row in session.rows(sql.INSTANCES)],
    )


def open_attempts(session: Session) -> list[AttemptRecord]:
    """Those of the jobs that are claimed or running."""
    return [attempt_of(row[-1], row[:-1]) for row in session.rows(sql.OPEN_ATTEMPTS)]


def forget(session: Session, ended_before: float, limit: int) -> int:
    """Delete jobs that ended before; the ledger stays, and so do results in the cache."""
    for (digest,) in session.rows(kept_sql.OLD_INPUTS, before=ended_before):
        session.change(kept_sql.FORGET_INPUT, digest=digest, before=ended_before)
        session.change(sql.MARK_UNUSED, digest_is=digest, now=ended_before)
    seqs = session.rows(sql.ENDED, before=ended_before, limit=limit)
    for (seq,) in seqs:
        digests = session.rows(sql.DIGESTS, job=seq)
        for statement in sql.FORGET:
            session.change(statement, job=seq)
        for (digest,) in digests:
            session.change(sql.MARK_UNUSED, digest_is=digest, now=ended_before)
    return len(seqs)
