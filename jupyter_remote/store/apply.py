"""Writes a step of the life cycle: job row, attempt row, ledger, history and events at once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from jupyter_remote.errors import Conflict, NotFound
from jupyter_remote.model import TERMINAL, AttemptRecord, JobRecord, MachineType, OwnerId
from jupyter_remote.store import budgets, money, receipts, sql, views
from jupyter_remote.store.base_parts import Changed
from jupyter_remote.store.lifecycle import Step
from jupyter_remote.store.records import Stored, attempt_of, mutable_of, stored_of
from jupyter_remote.store.session import Session
from jupyter_remote.wire import Event, WorkerEvent


def load(
    session: Session, job: str, owner: OwnerId | None = None, *, whole: bool = False
) -> Stored:
    """Raises NotFound, also when it is somebody else's."""
    row = session.row(sql.WHOLE_JOB if whole else sql.JOB, id=job)
    if row is not None:
        stored = stored_of(row)
        if owner is None or stored.job.owner == owner:
            return stored
    raise NotFound(f"no job {job}", hint="`%remote jobs` lists the jobs that you may see.")


def attempt_at(session: Session, stored: Stored, epoch: int) -> AttemptRecord | None:
    """One attempt of a job."""
    row = session.row(sql.ATTEMPT_AT, job=stored.seq, epoch=epoch)
    return attempt_of(stored.job.id, row) if row else None


def attempts_of(session: Session, stored: Stored) -> list[AttemptRecord]:
    """All attempts of a job, by epoch."""
    rows = session.rows(sql.ATTEMPTS, job=stored.seq)
    return [attempt_of(stored.job.id, row) for row in rows]


def apply(
    session: Session,
    before: Stored,
    step: Step,
    now: float,
    events: Sequence[Event] = (),
    machines: Sequence[MachineType] = (),
) -> Changed:
    """Write ``step``; ``events`` were stored just before, in the same transaction. ``machines``:
    what else can be had, for the receipt of a job that ends.

    Raises Conflict when the job is not any more what the step was made from.
    """
    if step.job.state in TERMINAL:
        receipt = receipts.made(session, before, step, machines)
        step = replace(step, job=replace(step.job, receipt=receipt))
    save_job(session, before, step.job)
    if step.attempt is not None:
        save_attempt(session, before.seq, step.attempt)
    for posting in step.postings:
        money.post(session, posting, now, step.job)
    budgets.move(session, step.job, step.postings, now)
    return told(session, Stored(before.seq, step.job), step.event, step.text, now, events)


def save_job(session: Session, before: Stored, after: JobRecord) -> None:
    """The guarded update that fences: only this epoch, only this state."""
    changed = session.change(
        sql.SAVE_JOB,
        seq=before.seq,
        old_epoch=before.job.epoch,
        old_state=before.job.state,
        **mutable_of(after),
    )
    if changed != 1:
        raise Conflict(f"job {before.job.id} changed meanwhile")


def save_attempt(session: Session, job: int, attempt: AttemptRecord) -> None:
    """Only an open attempt changes."""
    changed = session.change(
        sql.SAVE_ATTEMPT,
        job=job,
        epoch_is=attempt.epoch,
        state=attempt.state,
        lease_until_at=attempt.lease_until_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        beat_at=attempt.beat_at,
        signal=attempt.signal,
    )
    if changed != 1:
        raise Conflict(f"attempt {attempt.epoch} of job {attempt.job} ended already")


def told(
    session: Session,
    stored: Stored,
    event: str,
    text: str,
    now: float,
    events: Sequence[Event] = (),
) -> Changed:
    """Add the history row, the ``status`` event and, at the end, the ``done`` event."""
    job = stored.job
    status = add_event(session, stored, "status", views.status_data(job, now), now)
    session.insert(
        sql.ADD_HISTORY,
        job=stored.seq,
        cursor=status.cursor,
        at=now,
        event=event,
        text=text,
        epoch=job.epoch,
    )
    if job.state not in TERMINAL:
        return Changed(job, [*events, status])
    done = add_event(session, stored, "done", views.done_data(job), now)
    return Changed(job, [*events, status, done])


def add_event(
    session: Session,
    stored: Stored,
    type_: str,
    data: bytes,
    at: float,
    seq: int = 0,
) -> Event:
    """Store one event; its cursor is above all before."""
    job = stored.job
    cursor = session.insert(
        sql.ADD_EVENT,
        job=stored.seq,
        client=job.client,
        epoch=job.epoch,
        seq=seq,
        type=type_,
        data=data,
        at=at,
    )
    raw = msgspec.Raw(data)
    return Event(job=job.id, type=type_, data=raw, epoch=job.epoch, seq=seq, cursor=cursor, at=at)


def add_worker_events(
    session: Session, stored: Stored, events: Sequence[WorkerEvent], acked: int, now: float
) -> list[Event]:
    """Store each numbered event that is not there yet. ``acked`` is the highest one so far."""
    numbered = {event.seq: event for event in events if event.seq > 0}
    if not numbered:
        return []
    if min(numbered) <= acked:
        epoch, low, high = stored.job.epoch, min(numbered), max(numbered)
        for (seq,) in session.rows(sql.SEQS, job=stored.seq, epoch=epoch, low=low, high=high):
            numbered.pop(seq, None)
    return [
        add_event(session, stored, event.type, bytes(event.data), event.at or now, seq)
        for seq, event in sorted(numbered.items())
    ]
