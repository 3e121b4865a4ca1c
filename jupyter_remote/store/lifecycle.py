"""What each transition does to a job, its attempt and its money. Pure: records in, a step out.

The store applies a step in one transaction (:mod:`jupyter_remote.store.apply`). Every step is one
row of ``model.TRANSITIONS``; :func:`_step` refuses to make any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from jupyter_remote.errors import Conflict
from jupyter_remote.model import (
    ACTIVE,
    TERMINAL,
    TRANSITIONS,
    AttemptRecord,
    AttemptState,
    JobRecord,
    JobState,
    Reason,
    Stage,
    WorkerId,
)
from jupyter_remote.store import words
from jupyter_remote.store.base_parts import Outcome
from jupyter_remote.store.charges import (
    Posting,
    capture_of,
    charge_of,
    loss_of,
    rest_of_hold,
    stopped_at,
)

BACKOFF_S = 2.0
LONGEST_BACKOFF_S = 300.0
MOST_PREEMPTIONS = 100  # of one job: spot machines that last for minutes lead nowhere


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A transition that is legal: everything that one transaction is to write."""

    event: str  # as in TRANSITIONS
    text: str  # history, in plain words
    job: JobRecord  # as it is afterwards
    attempt: AttemptRecord | None = None  # as it is afterwards
    postings: tuple[Posting, ...] = ()


def _step(
    before: JobRecord,
    event: str,
    text: str,
    *,
    attempt: AttemptRecord | None = None,
    postings: Sequence[Posting] = (),
    **changes: Any,
) -> Step:
    after = replace(before, state=TRANSITIONS[before.state, event], **changes)
    text = words.with_money(text, before, after)
    if after.state in TERMINAL:
        postings = (*postings, *rest_of_hold(after))
    return Step(event=event, text=text, job=after, attempt=attempt, postings=tuple(postings))


# --- guards ----------------------------------------------------------------------------------
def fence(
    job: JobRecord, attempt: AttemptRecord | None, epoch: int, states: frozenset[JobState] = ACTIVE
) -> AttemptRecord:
    """The attempt, if it is the job's latest, open, and the job is in one of ``states``."""
    if job.epoch != epoch or attempt is None or attempt.epoch != epoch:
        raise Conflict(
            f"attempt {epoch} of job {job.id} is stale: the latest is {job.epoch}",
            hint="Another worker may run it: stop this attempt and discard what it made.",
        )
    if job.state not in states or attempt.ended_at is not None:
        raise Conflict(f"job {job.id} is {job.state.value}; this is not possible any more")
    return attempt


# --- from the cache --------------------------------------------------------------------------
def cached(job: JobRecord, source: JobRecord, now: float, text: str, detail: str) -> Step:
    """QUEUED to SUCCEEDED with what ``source`` gave back."""
    return _step(
        job,
        "cached",
        text,
        detail=detail,
        stage=Stage.DONE,
        ended_at=now,
        result=source.result,
        progress=source.progress,
        log=source.log,
    )


# --- to a worker -----------------------------------------------------------------------------
def claim(
    job: JobRecord, worker: WorkerId, now: float, lease_s: float, devices: str = ""
) -> tuple[Step, AttemptRecord]:
    """QUEUED to CLAIMED with the next epoch."""
    attempt = AttemptRecord(
        job=job.id,
        epoch=job.epoch + 1,
        worker=worker,
        state=AttemptState.CLAIMED,
        claimed_at=now,
        lease_until_at=now + lease_s,
    )
    step = _step(
        job,
        "claim",
        f"given to worker {worker}",
        stage=Stage.CONNECTING,
        detail="",  # why it was tried again
        epoch=attempt.epoch,
        worker=worker,
        devices=devices,
        claimed_at=now,
        started_at=None,
        progress=None,
        metrics=None,
        warned_at=None,
    )
    return step, attempt


def start(job: JobRecord, attempt: AttemptRecord, now: float) -> Step:
    """CLAIMED to RUNNING; the meter runs from ``now``."""
    if job.cancel_requested:
        raise Conflict(f"job {job.id} is to be cancelled; it must not start")
    return _step(
        job,
        "start",
        f"started on {job.machine}" + (" (simulated)" if job.simulated else ""),
        attempt=replace(attempt, state=AttemptState.STARTED, started_at=now),
        stage=Stage.EXECUTING,
        started_at=now,
        starts=job.starts + 1,
    )


def release(job: JobRecord, attempt: AttemptRecord, now: float, why: str) -> Step:
    """CLAIMED back to QUEUED, as if it had not been claimed."""
    ended = replace(attempt, state=AttemptState.REVOKED, ended_at=now)
    text = f"given back: {why}" if why else "given back by its worker"
    return _step(
        job, "release", text, attempt=ended, stage=Stage.WAITING, worker=None, claimed_at=None
    )


def no_machine(job: JobRecord, now: float, why: str, error: bytes) -> Step:
    """QUEUED or RETRY_WAIT to FAILED: no machine is to be had. It costs nothing."""
    return _step(
        job,
        "no_machine",
        f"failed: {why}",
        reason=Reason.NO_MACHINE,
        detail=why,
        stage=Stage.DONE,
        ended_at=now,
        error=error,
    )


def due(job: JobRecord) -> Step:
    """RETRY_WAIT to QUEUED."""
    return _step(job, "due", "queued again", stage=Stage.WAITING, not_before_at=None)


# --- how an attempt ends ---------------------------------------------------------------------
_KINDS = frozenset({"succeeded", "failed", "cancelled", "expired", "died", "preempted"})
_BEFORE_START = frozenset({"failed", "died"})


def finish(
    job: JobRecord,
    attempts: Sequence[AttemptRecord],
    outcome: Outcome,
    now: float,
    jitter: float,
) -> Step:
    """The latest attempt ended as its worker says. ``jitter`` is in [0, 1)."""
    attempt = attempts[-1]
    if outcome.kind not in _KINDS:
        raise Conflict(f"an attempt cannot end as {outcome.kind!r}")
    if attempt.started_at is None and outcome.kind == "preempted":
        return release(job, attempt, now, outcome.detail)
    if attempt.started_at is None and outcome.kind not in _BEFORE_START:
        raise Conflict(f"attempt {attempt.epoch} of job {job.id} did not start")
    if outcome.kind == "succeeded":
        return _succeed(job, attempt, outcome, now)
    if outcome.kind == "died" and not _by_its_own_code(attempt, outcome):
        return lose(job, attempts, outcome, now, jitter)
    if job.cancel_requested or outcome.kind == "cancelled":
        until = stopped_at(attempt, outcome, now)
        return cancelled_after_start(job, attempt, now, until, outcome)
    if outcome.kind == "preempted":
        return preempt(job, attempt, outcome, now)
    if outcome.kind == "expired":
        reason = _reason_of(outcome, Reason.TIME_LIMIT)
        return expire(job, attempt, now, reason, outcome)
    return _fail(job, attempts, outcome, now, jitter)


def _by_its_own_code(attempt: AttemptRecord, outcome: Outcome) -> bool:
    """Did running user code end its process while the worker lives?

    That is no loss of the platform: it is charged, and tried again only when asked.
    """
    return attempt.started_at is not None and outcome.reason in (
        Reason.KERNEL_DIED,
        Reason.OUT_OF_MEMORY,
    )


def _reason_of(outcome: Outcome, default: Reason) -> Reason:
    known = outcome.reason in Reason.__members__.values()
    return Reason(outcome.reason) if outcome.reason and known else default


def _ended(
    attempt: AttemptRecord, state: AttemptState, now: float, signal: str = ""
) -> AttemptRecord:
    return replace(attempt, state=state, ended_at=now, signal=signal)


def _charged(job: JobRecord, attempt: AttemptRecord, until: float) -> dict[str, Any]:
    """The arguments of :func:`_step` that charge the attempt."""
    amount = charge_of(job, attempt, until)
    return {
        "cost_ucredits": job.cost_ucredits + amount,
        "postings": capture_of(job, attempt.epoch, amount),
    }


def _succeed(job: JobRecord, attempt: AttemptRecord, outcome: Outcome, now: float) -> Step:
    late = job.cancel_requested
    changes = _charged(job, attempt, stopped_at(attempt, outcome, now))
    text = "finished before the cancel" if late else "completed"
    return _step(
        job,
        "complete",
        text,
        attempt=_ended(attempt, AttemptState.DONE, now),
        reason=Reason.FINISHED_BEFORE_CANCEL if late else Reason.NONE,
        detail=text if late else outcome.detail,
        stage=Stage.DONE,
        ended_at=now,
        result=outcome.result,
        **changes,
    )


def _fail(
    job: JobRecord, attempts: Sequence[AttemptRecord], outcome: Outcome, now: float, jitter: float
) -> Step:
    """The user's code raised or ended its process, or (before the start) could not be prepared."""
    attempt = attempts[-1]
    errors = 1 + sum(a.state is AttemptState.ERROR for a in attempts[:-1])
    ended = _ended(attempt, AttemptState.ERROR, now, outcome.signal)
    changes = _charged(job, attempt, stopped_at(attempt, outcome, now))
    why = outcome.detail or "the code raised an error"
    affordable = changes["cost_ucredits"] < job.hold_ucredits or not job.rate_ucredits_per_h
    again = job.state is JobState.RUNNING and errors <= job.retries
    if again and affordable:
        wait_s = backoff_s(errors, jitter)
        text = f"{why}; trying again in {wait_s:.1f} s (retry {errors} of {job.retries})"
        return _step(
            job,
            "retry",
            text,
            attempt=ended,
            stage=Stage.WAITING,
            detail=text,
            not_before_at=now + wait_s,
            **changes,
        )
    if again:
        why = f"{why}; not tried again: all that was held for it is spent"
    default = Reason.USER_ERROR if attempt.started_at is not None else Reason.ENVIRONMENT
    return _step(
        job,
        "fail",
        f"failed: {why}",
        attempt=ended,
        reason=_reason_of(outcome, default),
        detail=why if again else outcome.detail,
        stage=Stage.DONE,
        ended_at=now,
        error=outcome.error,
        result=outcome.result,
        **changes,
    )


def backoff_s(failures: int, jitter: float) -> float:
    """Wait before the next try: doubles from 2 s, up to 5 min, spread by up to a half."""
    base_s = min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** min(failures - 1, 16))
    return min(LONGEST_BACKOFF_S, base_s * (1 + jitter / 2))


SILENT = Outcome(kind="died", detail="its worker was not heard of any more")


def lose(
    job: JobRecord, attempts: Sequence[AttemptRecord], outcome: Outcome, now: float, jitter: float
) -> Step:
    """The worker or the process of the latest attempt is gone: the platform's loss."""
    attempt = attempts[-1]
    if job.cancel_requested:
        heard_at = attempt.beat_at or attempt.started_at or now
        return cancelled_after_start(job, attempt, now, heard_at, outcome, "lose_cancelling")
    lost = [a for a in attempts[:-1] if a.state is AttemptState.LOST]
    ended = _ended(attempt, AttemptState.LOST, now, outcome.signal)
    loss = loss_of(job, attempt, now)
    why = outcome.detail or (f"killed by {outcome.signal}" if outcome.signal else "lost")
    poison = bool(outcome.signal) and any(
        a.signal == outcome.signal and a.worker != attempt.worker for a in lost
    )
    if not poison and len(lost) + 1 < job.max_attempts:
        wait_s = backoff_s(len(lost) + 1, jitter)
        tries = f"attempt {len(lost) + 2} of {job.max_attempts}"
        text = f"lost: {why}; not charged; trying again in {wait_s:.1f} s ({tries})"
        return _step(
            job,
            "lose",
            text,
            attempt=ended,
            postings=loss,
            stage=Stage.WAITING,
            detail=text,
            not_before_at=now + wait_s,
        )
    if poison:
        why = f"{why}; this job kills workers"
    return _step(
        job,
        "lose_last",
        f"lost: {why}",
        attempt=ended,
        postings=loss,
        reason=Reason.POISON if poison else _reason_of(outcome, Reason.LOST),
        detail=why,
        stage=Stage.DONE,
        ended_at=now,
        error=outcome.error,
    )


def preempt(job: JobRecord, attempt: AttemptRecord, outcome: Outcome, now: float) -> Step:
    """RUNNING back to QUEUED: the machine is taken away, with notice. No fault of the job's, nor
    of its user: the time is the platform's loss, and no attempt of those allowed."""
    until = stopped_at(attempt, outcome, now)
    loss = loss_of(job, attempt, until)
    ended = _ended(attempt, AttemptState.PREEMPTED, now)
    count = job.preemptions + 1
    if count > MOST_PREEMPTIONS:
        why = f"its machine was taken away {count} times"
        return _step(
            job,
            "lose_last",
            f"lost: {why}",
            attempt=ended,
            postings=loss,
            preemptions=count,
            reason=Reason.LOST,
            detail=why,
            stage=Stage.DONE,
            ended_at=now,
        )
    text = words.preempted(job, until - (attempt.started_at or until))
    return _step(
        job,
        "preempt",
        f"{text}; not charged",
        attempt=ended,
        postings=loss,
        preemptions=count,
        detail=text,
        stage=Stage.WAITING,
    )


def expire(
    job: JobRecord,
    attempt: AttemptRecord,
    now: float,
    reason: Reason,
    outcome: Outcome | None = None,
) -> Step:
    """The time or money limit was reached."""
    changes = _charged(job, attempt, stopped_at(attempt, outcome, now))
    what = words.limit(job, reason)
    return _step(
        job,
        "expire",
        f"stopped at its {what}",
        attempt=_ended(attempt, AttemptState.ERROR, now),
        reason=reason,
        detail=words.detail_of_limit(job, reason, outcome.detail if outcome else ""),
        stage=Stage.DONE,
        ended_at=now,
        error=outcome.error if outcome else None,
        result=outcome.result if outcome else None,
        **changes,
    )


# --- cancel ----------------------------------------------------------------------------------
def cancel(
    job: JobRecord,
    attempt: AttemptRecord | None,
    now: float,
    force: bool,
    why: str = "by the user",
    saves: bool = False,
    kill_at: float | None = None,
) -> Step:
    """Before it started: CANCELLED, free. Running: the flag, for its worker to act on."""
    if job.state in TERMINAL:
        raise Conflict(f"job {job.id} is {job.state.value} already")
    if job.state is JobState.RUNNING:
        how = words.how_it_is_stopped(now, force, saves, kill_at)
        return _step(
            job,
            "cancel",
            f"cancel requested{how and f' ({how})'}",
            cancel_requested=True,
            cancel_requested_at=now,
            cancel_forced=force,
            cancel_saves=saves and not force,
            kill_at=now if force else kill_at,
        )
    return _step(
        job,
        "cancel",
        f"cancelled {why} before it started" + (" again" if job.starts else ""),
        attempt=_ended(attempt, AttemptState.REVOKED, now) if attempt else None,
        cancel_requested=True,
        cancel_requested_at=now,
        reason=Reason.CANCELLED,
        detail="",
        stage=Stage.DONE,
        ended_at=now,
    )


def cancel_otherwise(job: JobRecord, now: float, force: bool, kill_at: float | None) -> Step:
    """It is being stopped already: now killed at once, or at another time."""
    return _step(
        job,
        "cancel",
        f"now {words.how_it_is_stopped(now, force, False, kill_at) or 'not killed'}",
        cancel_forced=force,
        cancel_saves=job.cancel_saves and not force,
        kill_at=now if force else kill_at,
    )


def cancelled_after_start(
    job: JobRecord,
    attempt: AttemptRecord,
    now: float,
    until: float,
    outcome: Outcome | None = None,
    event: str = "acknowledge_cancel",
) -> Step:
    """RUNNING to CANCELLED, charged up to ``until``."""
    changes = _charged(job, attempt, until)
    by = "by the user" if job.cancel_requested else "over there"
    return _step(
        job,
        event,
        f"cancelled {by} after start"
        + (f", {outcome.detail}" if outcome and outcome.detail else ""),
        attempt=_ended(attempt, AttemptState.CANCELLED, now, outcome.signal if outcome else ""),
        reason=Reason.CANCELLED,
        detail=outcome.detail if outcome else "",
        stage=Stage.DONE,
        ended_at=now,
        error=outcome.error if outcome else None,
        result=outcome.result if outcome else None,
        **changes,
    )
