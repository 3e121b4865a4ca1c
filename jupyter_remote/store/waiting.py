"""What is said to jobs that wait for a machine, and that none is to be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from jupyter_remote.errors import NotFound
from jupyter_remote.model import JobId, JobState, Stage
from jupyter_remote.store import lifecycle
from jupyter_remote.store.apply import apply, load, save_job, told
from jupyter_remote.store.base_parts import Changed
from jupyter_remote.store.records import Stored
from jupyter_remote.store.session import Session

WAITING = (JobState.QUEUED, JobState.RETRY_WAIT)


def note(
    session: Session,
    jobs: Sequence[JobId],
    text: str,
    now: float,
    stage: Stage | None,
    detail: str | None,
) -> list[Changed]:
    """A line of their history; stage and detail where they are given."""
    return [_note(session, one, text, now, stage, detail) for one in _waiting(session, jobs)]


def _note(
    session: Session, stored: Stored, text: str, now: float, stage: Stage | None, detail: str | None
) -> Changed:
    job = stored.job
    after = replace(
        job,
        stage=job.stage if stage is None else stage,
        detail=job.detail if detail is None else detail,
    )
    save_job(session, stored, after)
    return told(session, Stored(stored.seq, after), "machine", text, now)


def refuse(
    session: Session, jobs: Sequence[JobId], why: str, error: bytes, now: float
) -> list[Changed]:
    """They end as failed, without cost."""
    return [
        apply(session, stored, lifecycle.no_machine(stored.job, now, why, error), now)
        for stored in _waiting(session, jobs)
    ]


def _waiting(session: Session, jobs: Sequence[JobId]) -> Iterator[Stored]:
    for job in jobs:
        try:
            stored = load(session, job)
        except NotFound:  # forgotten, or its submit was refused
            continue
        if stored.job.state in WAITING:
            yield stored
