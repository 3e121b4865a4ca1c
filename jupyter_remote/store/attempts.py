"""Claim, start, beat, finish, cancel and the clean-up of what was lost.

Each verb loads the records, lets :mod:`lifecycle` decide, and applies the step.
"""

from __future__ import annotations

from msgspec.json import decode
from msgspec.structs import replace

from jupyter_remote.errors import Conflict, NotFound
from jupyter_remote.model import (
    ACTIVE,
    AttemptRecord,
    AttemptState,
    JobId,
    JobRecord,
    JobState,
    OwnerId,
    Stage,
    WorkerId,
)
from jupyter_remote.store import blobs, cache, charges, lifecycle, sql, views, words
from jupyter_remote.store.apply import (
    add_event,
    add_worker_events,
    apply,
    attempt_at,
    attempts_of,
    load,
    save_job,
)
from jupyter_remote.store.base_parts import AttemptUpdate, Changed, Outcome
from jupyter_remote.store.records import Stored, stored_of
from jupyter_remote.store.session import Session
from jupyter_remote.wire import Bar, Event, WorkerEvent, encode

SAVING_S = 600.0  # for a result to arrive, after the limit; it is not charged


def claim(
    session: Session, job: JobId, worker: WorkerId, now: float, lease_s: float, devices: str = ""
) -> tuple[Changed, AttemptRecord] | None:
    """None when the job is not claimable (any more)."""
    row = session.row(sql.WHOLE_JOB, id=job)
    if row is None:
        return None
    stored = stored_of(row)
    if stored.job.state is not JobState.QUEUED or not stored.job.ready:
        return None
    step, attempt = lifecycle.claim(stored.job, worker, now, lease_s, devices)
    session.insert(
        sql.ADD_ATTEMPT,
        job=stored.seq,
        **{name: getattr(attempt, name) for name in AttemptRecord.__struct_fields__[1:]},
    )
    return apply(session, stored, step, now), attempt


def start(session: Session, job: JobId, epoch: int, now: float) -> Changed:
    """Sent twice it is the same."""
    stored = load(session, job)
    attempt = lifecycle.fence(stored.job, attempt_at(session, stored, epoch), epoch)
    if stored.job.state is JobState.RUNNING and not stored.job.cancel_requested:
        return Changed(stored.job, [])
    if stored.job.state is JobState.RUNNING:
        raise Conflict(f"job {job} is to be cancelled; it must not start")
    return apply(session, stored, lifecycle.start(stored.job, attempt, now), now)


def release(session: Session, job: JobId, epoch: int, now: float, why: str) -> Changed:
    """Only before it started."""
    stored = load(session, job)
    attempt = attempt_at(session, stored, epoch)
    attempt = lifecycle.fence(stored.job, attempt, epoch, frozenset({JobState.CLAIMED}))
    return apply(session, stored, lifecycle.release(stored.job, attempt, now, why), now)


# --- beat ------------------------------------------------------------------------------------
def beat(session: Session, update: AttemptUpdate, now: float, lease_s: float) -> Changed:
    """Renew the lease, store events and what is new of stage, progress and metrics."""
    stored = load(session, update.job)
    attempt = attempt_at(session, stored, update.epoch)
    attempt = lifecycle.fence(stored.job, attempt, update.epoch)
    events = _store_events(session, stored, attempt, update.events, now, lease_s, update.stage)
    job = _latest(stored.job, update)
    if job == stored.job:
        return Changed(job, events)
    save_job(session, stored, job)
    if job.stage is not stored.job.stage:
        data = views.status_data(job, now)
        events.append(add_event(session, Stored(stored.seq, job), "status", data, now))
    return Changed(job, events)


def _latest(job: JobRecord, update: AttemptUpdate) -> JobRecord:
    """The job with what a beat says of it; events of seq 0 count where a field is not given."""
    bars = [decode(e.data, type=Bar) for e in update.events if e.type == "progress" and not e.seq]
    metrics = [bytes(e.data) for e in update.events if e.type == "metrics" and not e.seq]
    progress = update.progress
    if progress is None and bars:
        progress = views.merge_bars(job.progress, bars)
    return replace(
        job,
        stage=update.stage if update.stage is not None else job.stage,
        progress=progress if progress is not None else job.progress,
        metrics=update.metrics or (metrics[-1] if metrics else job.metrics),
    )


def _store_events(
    session: Session,
    stored: Stored,
    attempt: AttemptRecord,
    events: list[WorkerEvent],
    now: float,
    lease_s: float,
    stage: Stage | None = None,
) -> list[Event]:
    """Store what is new and renew the lease of the attempt."""
    acked = session.value(sql.ACKED, job=stored.seq, epoch=attempt.epoch)
    saving = stage is Stage.SAVING_RESULT and attempt.state is AttemptState.STARTED
    session.change(
        sql.BEAT,
        job=stored.seq,
        epoch_is=attempt.epoch,
        state=AttemptState.FINALIZING if saving else attempt.state,
        lease_until_at=now + lease_s,
        beat_at=now,
        acked_seq=max([acked, *(event.seq for event in events)]),
    )
    return add_worker_events(session, stored, events, acked, now)


def resume(
    session: Session, worker: WorkerId, job: JobId, epoch: int, now: float, lease_s: float
) -> bool:
    """Does the attempt that this worker still holds stand? Renews its lease if so."""
    try:
        stored = load(session, job)
        attempt = lifecycle.fence(stored.job, attempt_at(session, stored, epoch), epoch)
    except (NotFound, Conflict):
        return False
    if attempt.worker != worker:
        return False
    _store_events(session, stored, attempt, [], now, lease_s)
    return True


# --- the end of an attempt -------------------------------------------------------------------
def finish(
    session: Session,
    job: JobId,
    epoch: int,
    outcome: Outcome,
    now: float,
    jitter: float,
    cache_bytes: int,
) -> Changed:
    """The attempt ended as its worker says."""
    stored = load(session, job)
    lifecycle.fence(stored.job, attempt_at(session, stored, epoch), epoch)
    attempts = attempts_of(session, stored)
    step = lifecycle.finish(stored.job, attempts, outcome, now, jitter)
    events = _last_words(session, stored, epoch, outcome, now)
    log = encode(outcome.log) if outcome.log else stored.job.log
    metrics = outcome.metrics or stored.job.metrics
    after = replace(step.job, log=log, metrics=metrics)
    step = replace(step, job=after, text=words.with_waiting(step.text, after))
    step = cache.keep(session, stored, step, cache_bytes, now)
    if step.event == "preempt":
        data = encode({"text": step.job.detail})
        events.append(add_event(session, stored, "notice", data, now))
    return apply(session, stored, step, now, events, outcome.machines)


def _last_words(
    session: Session, stored: Stored, epoch: int, outcome: Outcome, now: float
) -> list[Event]:
    """The last events, and the references to the blobs that hold result and log."""
    kept = [*outcome.segments, *([outcome.log] if outcome.log is not None else [])]
    absent = blobs.missing(session, kept, stored.job.owner)
    if absent:
        raise Conflict(
            f"{len(absent)} parts of the result of job {stored.job.id} are not there",
            hint="Upload them, then complete the attempt again.",
        )
    for segment in outcome.segments:
        blobs.refer(session, stored.seq, segment, "result")
    if outcome.log is not None:
        blobs.refer(session, stored.seq, outcome.log, "log")
    acked = session.value(sql.ACKED, job=stored.seq, epoch=epoch)
    return add_worker_events(session, stored, outcome.events, acked, now)


def cancel(
    session: Session,
    job: JobId,
    owner: OwnerId,
    now: float,
    force: bool,
    why: str,
    saves: bool,
    kill_at: float | None,
) -> Changed:
    """Asked again for a running job it is the same, unless it is to be killed at once, or at
    another time."""
    stored = load(session, job, owner)
    known = stored.job
    step = None
    if known.state is not JobState.RUNNING or not known.cancel_requested:
        attempt = attempt_at(session, stored, known.epoch) if known.state in ACTIVE else None
        step = lifecycle.cancel(known, attempt, now, force, why, saves, kill_at)
    elif not known.cancel_forced and (force or kill_at != known.kill_at):
        step = lifecycle.cancel_otherwise(known, now, force, kill_at)
    return Changed(known, []) if step is None else apply(session, stored, step, now)


# --- what time brings ------------------------------------------------------------------------
def expire_lease(session: Session, stored: Stored, now: float, jitter: float) -> Changed:
    """The worker was not heard of for a whole lease."""
    attempts = attempts_of(session, stored)
    step = lifecycle.lose(stored.job, attempts, lifecycle.SILENT, now, jitter)
    return apply(session, stored, step, now)


def past_limit(job: JobRecord, now: float, grace_s: float) -> bool:
    """Did its worker fail to stop it? What the code has made by then may still be on its way."""
    if job.state is not JobState.RUNNING or job.started_at is None:
        return False
    if job.stage is Stage.SAVING_RESULT:
        grace_s += SAVING_S
    return now - job.started_at > charges.run_left_s(job) + grace_s


def expire_limit(session: Session, stored: Stored, now: float) -> Changed:
    """Stop what its worker should have stopped."""
    job = stored.job
    attempt = lifecycle.fence(job, attempt_at(session, stored, job.epoch), job.epoch)
    if job.cancel_requested:
        step = lifecycle.cancelled_after_start(job, attempt, now, now)
    else:
        step = lifecycle.expire(job, attempt, now, charges.limit_reason(job))
    return apply(session, stored, step, now)
