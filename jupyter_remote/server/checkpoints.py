"""Checkpoints: what workers say of them, and what a new job goes on from."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.model import TERMINAL, JobId, JobRecord, OwnerId, WorkerId
from jupyter_remote.scheduler.board import Active
from jupyter_remote.server.submitting import Resumed, check_job_id, check_segments

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend

WHY_CHARS = 50
NOTICE_S = 3600.0  # no machine tells of its end that long before
HINT = "A job saves one in a function that it registers with @jr.on_checkpoint, when it is asked."

_decode = msgspec.json.Decoder(wire.Checkpoint).decode


async def warned(backend: Backend, active: Active) -> None:
    """Most of what its fuse allows is spent. Raises Conflict."""
    await backend.commit(backend.store.warn, active.job, active.epoch, backend.clock.now())


async def saved(backend: Backend, active: Active, message: wire.Saved) -> None:
    """Raises Conflict, also when parts of it are not there."""
    check_segments(message.value.segments)
    now = backend.clock.now()
    checkpoint = wire.Checkpoint(
        value=message.value, at=now, epoch=active.epoch, why=message.why[:WHY_CHARS]
    )
    await backend.commit(backend.store.checkpoint, active.job, active.epoch, checkpoint, now)


async def taken_away(backend: Backend, worker: WorkerId, notice: wire.Notice) -> None:
    """The machine of this worker will be: it is given nothing more, and its jobs say so."""
    backend.scheduler.drain(worker)
    now = backend.clock.now()
    left_s = notice.ends_at - now
    at = now + (min(left_s, NOTICE_S) if left_s > 0 else 0.0)
    text = f"its machine is taken away at {time.strftime('%H:%M:%S', time.localtime(at))}"
    for active in list(backend.scheduler.board.held_by(worker)):
        with contextlib.suppress(errors.JupyterRemoteError):  # it is over, or has not begun
            await backend.commit(backend.store.taken_away, active.job, active.epoch, text, now)


async def resumed(backend: Backend, id: str, new: str, owner: OwnerId) -> Resumed | None:
    """The checkpoint of job ``id`` for the job ``new``; None where none is asked for, or ``new``
    was submitted before.

    Raises NotFound, Conflict where there is none, or not any more.
    """
    if not id or await _is_there(backend, new, owner):
        return None
    if id == new:
        raise errors.InvalidRequest("A job cannot start from its own checkpoint.")
    try:
        job: JobRecord = await backend.look(backend.store.job, check_job_id(id), owner)
    except errors.NotFound:
        raise errors.NotFound(
            f"There is no job {id} to go on from.", hint="`%remote jobs --all` lists yours."
        ) from None
    if job.checkpoint is None:
        raise errors.Conflict(f"Job {job.id[:8]} has no checkpoint: {_why_none(job)}.", hint=HINT)
    checkpoint = _decode(job.checkpoint)
    await _check(backend, job, checkpoint.value, owner)
    at = time.strftime("%H:%M", time.localtime(checkpoint.at))
    note = f"resumes from the checkpoint of job {job.id[:8]} of {at}"
    return Resumed(job.id, checkpoint.value, note)


async def _is_there(backend: Backend, id: str, owner: OwnerId) -> bool:
    try:
        await backend.look(backend.store.job, JobId(id), owner)
    except errors.NotFound:
        return False
    return True


def _why_none(job: JobRecord) -> str:
    if job.started_at is None and not job.starts:
        return "it never ran" if job.state in TERMINAL else "it has not begun yet"
    return "it saved none" if job.state in TERMINAL else "it has saved none yet"


async def _check(backend: Backend, job: JobRecord, value: wire.Parcel, owner: OwnerId) -> None:
    """A new job would wait for bytes that nobody can send."""
    segments = [s for s in value.segments if s.data is None]
    await backend.shelf.look_for(segments)
    if await backend.look(backend.store.missing, segments, owner):
        raise errors.Conflict(
            f"The checkpoint of job {job.id[:8]} is damaged, or gone; nothing was charged.",
            hint="Run it from its beginning: leave out --resume.",
        )
