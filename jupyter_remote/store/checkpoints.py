"""What a running attempt says of its fuse, and what it saves for whoever goes on from it."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from jupyter_remote.amounts import size
from jupyter_remote.errors import Conflict
from jupyter_remote.model import AttemptRecord, JobId, JobRecord, JobState
from jupyter_remote.money.fuse import WARNED, allowed_ucredits
from jupyter_remote.store import blobs, lifecycle, sql
from jupyter_remote.store.apply import attempt_at, load, save_job, told
from jupyter_remote.store.base_parts import Changed
from jupyter_remote.store.charges import charge_of, credits_text
from jupyter_remote.store.records import Stored
from jupyter_remote.store.session import Session
from jupyter_remote.wire import Checkpoint, encode

ROLE = "checkpoint"
PERIODIC = "periodic"
RUNNING = frozenset({JobState.RUNNING})

_decode = msgspec.json.Decoder(Checkpoint).decode


def warn(session: Session, job: JobId, epoch: int, now: float) -> Changed:
    """Said twice it is the same."""
    stored, attempt = _running(session, job, epoch)
    if stored.job.warned_at is not None:
        return Changed(stored.job, [])
    after = replace(stored.job, warned_at=now)
    save_job(session, stored, after)
    return told(session, Stored(stored.seq, after), "warn", _text_of(after, attempt, now), now)


def _text_of(job: JobRecord, attempt: AttemptRecord, now: float) -> str:
    spent = _about(job.cost_ucredits + charge_of(job, attempt, now))
    allowed = allowed_ucredits(job.fuse, job.hold_ucredits, job.limits.max_cost_ucredits)
    figure, _, _ = credits_text(spent).partition(" ")
    return f"warning at {WARNED}: {figure} of {credits_text(allowed)} are spent"


def _about(ucredits: int) -> int:
    """To three figures: the next millisecond costs something, too."""
    return round(ucredits, 3 - len(str(ucredits)))


def taken_away(session: Session, job: JobId, epoch: int, text: str, now: float) -> Changed:
    """The machine of a running attempt will be. Said twice it is the same."""
    stored, _ = _running(session, job, epoch)
    if stored.job.detail == text:
        return Changed(stored.job, [])
    after = replace(stored.job, detail=text)
    save_job(session, stored, after)
    return told(session, Stored(stored.seq, after), "notice", text, now)


def save(session: Session, job: JobId, epoch: int, checkpoint: Checkpoint, now: float) -> Changed:
    """Takes the place of the one before. Sent twice it is the same."""
    stored, _ = _running(session, job, epoch)
    if _same(stored.job.checkpoint, checkpoint):
        return Changed(stored.job, [])
    segments = [s for s in checkpoint.value.segments if s.data is None]
    if absent := blobs.missing(session, segments, stored.job.owner):
        raise Conflict(
            f"{len(absent)} parts of the checkpoint of job {job} are not there",
            hint="Upload them, then send it again.",
        )
    before = session.rows(sql.DIGESTS_OF_ROLE, job=stored.seq, role=ROLE)
    session.change(sql.FORGET_ROLE, job=stored.seq, role=ROLE)
    for segment in segments:
        blobs.refer(session, stored.seq, segment, ROLE)
    for (digest,) in before:
        session.change(sql.MARK_UNUSED, digest_is=digest, now=now)
    after = replace(stored.job, checkpoint=encode(checkpoint))
    save_job(session, stored, after)
    if checkpoint.why == PERIODIC and stored.job.checkpoint is not None:
        return Changed(after, [])  # one of many
    text = f"checkpoint saved: {size(checkpoint.value.size_bytes)}"
    return told(session, Stored(stored.seq, after), "checkpoint", text, now)


def _running(session: Session, job: JobId, epoch: int) -> tuple[Stored, AttemptRecord]:
    stored = load(session, job)
    attempt = attempt_at(session, stored, epoch)
    return stored, lifecycle.fence(stored.job, attempt, epoch, RUNNING)


def _same(known: bytes | None, checkpoint: Checkpoint) -> bool:
    """Is it the one that is known already, apart from when it came?"""
    return known is not None and replace(_decode(known), at=checkpoint.at) == checkpoint
