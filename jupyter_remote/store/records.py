"""Rows to records and back: the only place that knows the order of columns."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, null

from jupyter_remote.model import (
    AttemptRecord,
    AttemptState,
    Entry,
    History,
    InstanceRecord,
    InstanceState,
    JobId,
    JobRecord,
    JobState,
    Limits,
    OwnerId,
    PastRun,
    Reason,
    Stage,
    TokenRecord,
    WorkerId,
    WorkerRecord,
)
from jupyter_remote.store import schema
from jupyter_remote.wire import Event

MUTABLE = (
    "state",
    "cancel_requested",
    "reason",
    "detail",
    "stage",
    "epoch",
    "starts",
    "cost_ucredits",
    "ready",
    "worker",
    "not_before_at",
    "claimed_at",
    "started_at",
    "ended_at",
    "cancel_requested_at",
    "cancel_forced",
    "cancel_saves",
    "kill_at",
    "result",
    "error",
    "progress",
    "metrics",
    "log",
    "warned_at",
    "checkpoint",
    "receipt",
    "preemptions",
    "devices",
)
_LIMITS = ("timeout_s", "max_run_s", "max_cost_ucredits", "memory_bytes")
_FLAGS = ("simulated", "cancel_requested", "cancel_forced", "cancel_saves", "ready")
_PLAIN = (
    "id",
    "owner",
    "client",
    "kind",
    "description",
    "visibility",
    "machine",
    "simulated",
    "max_attempts",
    "retries",
    "rate_ucredits_per_h",
    "hold_ucredits",
    "batch",
    "submitted_at",
    "summary",
    "code_digest",
    "session",
    "notebook",
    "cell",
    "cell_code",
    "code_key",
    "inputs_bytes",
    "fuse",
    "priced_on",
    "resumes",
    "cached_from",
    "saved_ucredits",
    "estimate",
    "gpus",
)
_NAMES = (*_PLAIN, *MUTABLE, *_LIMITS)

_LEAN = [schema.job.c.seq, *(schema.job.c[name] for name in _NAMES)]
JOB_LEAN: list[Column[Any]] = [*_LEAN, null().label("spec")]  # type: ignore[list-item]
JOB_WHOLE: list[Column[Any]] = [*_LEAN, schema.spec.c.data]
ATTEMPT: list[Column[Any]] = [
    schema.attempt.c[name] for name in AttemptRecord.__struct_fields__ if name != "job"
]


class Stored(msgspec.Struct, frozen=True):
    """A job with the integer key of its row."""

    seq: int
    job: JobRecord


def stored_of(row: tuple[Any, ...]) -> Stored:
    """From a row of ``JOB_LEAN`` or ``JOB_WHOLE``."""
    values = dict(zip(_NAMES, row[1:-1], strict=True))
    limits = Limits(**{name: values.pop(name) for name in _LIMITS})
    for name in _FLAGS:
        values[name] = values[name] == 1
    values["state"] = JobState(values["state"])
    values["reason"] = Reason(values["reason"])
    values["stage"] = Stage(values["stage"])
    return Stored(row[0], JobRecord(limits=limits, spec=row[-1] or b"", **values))


def job_of(row: tuple[Any, ...]) -> JobRecord:
    """As :func:`stored_of`, without the key."""
    return stored_of(row).job


def mutable_of(job: JobRecord) -> dict[str, Any]:
    """What a transition may have changed, as parameters of ``sql.SAVE_JOB``."""
    return {name: getattr(job, name) for name in MUTABLE}


def attempt_of(job: JobId, row: tuple[Any, ...]) -> AttemptRecord:
    """From a row of ``ATTEMPT``."""
    epoch, worker, state, claimed, lease, started, ended, beat, signal = row
    return AttemptRecord(
        job=job,
        epoch=epoch,
        worker=worker,
        state=AttemptState(state),
        claimed_at=claimed,
        lease_until_at=lease,
        started_at=started,
        ended_at=ended,
        beat_at=beat,
        signal=signal,
    )


class _Peak(msgspec.Struct, frozen=True):
    """The part of wire.Metrics that counts for runs to come."""

    peak_memory_bytes: int = 0


_peaks = msgspec.json.Decoder(_Peak)


def past_run_of(row: tuple[Any, ...]) -> PastRun:
    """From a row of ``sql.PAST_RUNS``."""
    run_s, machine, inputs_bytes, code_key, notebook, kind, ended_at, metrics = row
    return PastRun(
        run_s=run_s,
        machine=machine,
        inputs_bytes=inputs_bytes,
        code_key=code_key,
        notebook=notebook,
        kind=kind,
        ended_at=ended_at,
        peak_memory_bytes=_peaks.decode(metrics).peak_memory_bytes if metrics else 0,
    )


def event_of(row: tuple[Any, ...]) -> Event:
    """From ``cursor, job id, epoch, seq, type, data, at``."""
    cursor, job, epoch, seq, type_, data, at = row
    return Event(
        job=job, type=type_, data=msgspec.Raw(data), epoch=epoch, seq=seq, cursor=cursor, at=at
    )


def history_of(row: tuple[Any, ...]) -> History:
    """From ``at, event, text, epoch``."""
    at, event, text, epoch = row
    return History(at=at, event=event, text=text, epoch=epoch)


def entries_of(row: tuple[Any, ...]) -> list[Entry]:
    """Both sides of a row of ``posting``: what leaves the source arrives at the target."""
    number, at, source, target, kind, amount, job, epoch, description = row
    return [
        Entry(id=2 * number + side, at=at, account=account, kind=kind, amount_ucredits=sum_,
              job=job, epoch=epoch, description=description or "")
        for side, account, sum_ in ((0, source, -amount), (1, target, amount))
    ]  # fmt: skip


def worker_of(row: tuple[Any, ...]) -> WorkerRecord:
    """From a row of ``worker``."""
    id_, instance, machine, slots, connected, draining, seen_at, python, platform, token = row
    return WorkerRecord(
        id=WorkerId(id_),
        instance=instance,
        machine=machine,
        slots=slots,
        connected=connected == 1,
        draining=draining == 1,
        seen_at=seen_at,
        python=python,
        platform=platform,
        token=token,
    )


def instance_of(row: tuple[Any, ...]) -> InstanceRecord:
    """From a row of ``instance``."""
    id_, provider, machine, state, provider_id, created_at, changed_at, *cloud = row
    owner, job, zone, spot, rate, ready_at, step, detail, boot_log = cloud
    return InstanceRecord(
        id=id_,
        provider=provider,
        machine=machine,
        state=InstanceState(state),
        provider_id=provider_id,
        created_at=created_at,
        changed_at=changed_at,
        owner=OwnerId(owner),
        job=job,
        zone=zone,
        spot=bool(spot),
        rate_ucredits_per_h=rate,
        ready_at=ready_at,
        step=step,
        detail=detail,
        boot_log=boot_log,
    )


def token_of(row: tuple[Any, ...]) -> TokenRecord:
    """From ``id, owner, scopes, label, created_at, expires_at, revoked_at``."""
    id_, owner, scopes, label, created_at, expires_at, revoked_at = row
    return TokenRecord(
        id=id_,
        owner=OwnerId(owner),
        scopes=tuple(filter(None, scopes.split(","))),
        label=label,
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )
