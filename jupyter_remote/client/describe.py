"""A job's record as it moves, and as people and programs read it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from jupyter_remote import wire
from jupyter_remote.model import Stage
from jupyter_remote.money import meter
from jupyter_remote.money.estimate import Completion, in_usd, of_bars, within
from jupyter_remote.wire import Bar, Done, Event, Interval, JobView, Metrics, Money

_DONE = msgspec.json.Decoder(Done)
_BAR = msgspec.json.Decoder(Bar)
_METRICS = msgspec.json.Decoder(Metrics)


class _Patch(msgspec.Struct, frozen=True):
    """Fields of a job that a ``status`` event may change."""

    status: str | UnsetType = UNSET
    stage: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    machine: str | UnsetType = UNSET
    money: Money | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    worker: str | UnsetType = UNSET
    submitted_at: float | UnsetType = UNSET
    started_at: float | UnsetType | None = UNSET
    ended_at: float | UnsetType | None = UNSET
    warned_at: float | UnsetType | None = UNSET
    checkpoint_at: float | UnsetType | None = UNSET
    checkpoint_bytes: int | UnsetType = UNSET


_PATCH = msgspec.json.Decoder(_Patch)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a job may take and cost: as it was expected before, and of a running one as it is now.

    Intervals hold nine cases of ten.
    """

    usd_per_h: float
    hold_usd: float  # set aside; the most that it can cost
    hold_credits: float
    simulated: bool
    run_s: Interval | None = None  # in all; None: nothing is known
    usd: Interval | None = None  # in the end
    left_s: float | None = None  # of a running job
    basis: str = ""  # in words: "3 earlier runs of this code on g5.xlarge"
    runs: int = 0  # how many earlier ones it rests on
    max_usd: float | None = None  # --max-cost
    fuse_share: float | None = None  # of that what is spent, 0 to 1

    def __str__(self) -> str:
        rate = meter.rate_text(meter.ucredits_of_usd(self.usd_per_h))
        expected = ""
        if self.usd is not None and self.usd_per_h:
            ends = (self.usd.low, self.usd.expected, self.usd.high)
            expected = f"≈ {meter.range_text(*map(meter.ucredits_of_usd, ends))}, "
        simulated = " (simulated)" if self.simulated else ""
        most = meter.text_of(meter.ucredits_of_usd(self.hold_usd))
        return f"{expected}{rate}{simulated}, at most {most}"


def moved(job: JobView, event: Event) -> tuple[JobView, Done | None]:
    """The job after ``event``, and how it ended if that was the last one."""
    match event.type:
        case "status":
            return _patched(job, event), None
        case "done":
            done = _DONE.decode(event.data)
            return done.job, done
        case "progress":
            bars = _with_bar(job.progress, _BAR.decode(event.data))
            return msgspec.structs.replace(job, progress=bars), None
        case "metrics":
            return msgspec.structs.replace(job, metrics=_METRICS.decode(event.data)), None
        case _:
            return job, None


def _patched(job: JobView, event: Event) -> JobView:
    patch = _PATCH.decode(event.data)
    changes = {k: v for k in patch.__struct_fields__ if (v := getattr(patch, k)) is not UNSET}
    if "status" in changes:  # fields at their default are left out of JSON
        changes = {"stage": "", "reason": "", "detail": "", "warned_at": None} | changes
    return msgspec.structs.replace(job, **changes)


def _with_bar(bars: list[Bar], bar: Bar) -> list[Bar]:
    if any(b.id == bar.id for b in bars):
        return [bar if b.id == bar.id else b for b in bars]
    return [*bars, bar]


def bar_id(event: Event) -> str:
    """Which bar a ``progress`` event moves."""
    return _BAR.decode(event.data).id


def cost_usd(job: JobView, now: float) -> float:
    """USD so far, or in the end. ``now`` is the time of day in seconds."""
    cost = job.money.cost_ucredits
    if job.started_at is not None and job.ended_at is None:
        so_far = meter.cost_ucredits(job.money.rate_ucredits_per_h, now - job.started_at)
        cost = max(cost, min(so_far, job.money.hold_ucredits))
    return meter.usd_of(cost)


def _completion(job: JobView, now: float) -> Completion | None:
    if job.started_at is None or job.ended_at is not None:
        return None
    prior = job.estimate.run_s if job.estimate is not None else None
    elapsed_s = max(0.0, now - job.started_at)
    made = of_bars(job.progress, elapsed_s, job.money.rate_ucredits_per_h, prior)
    return None if made is None else within(made, 0, job.money.hold_ucredits)


def estimate(job: JobView, now: float | None = None) -> Estimate:
    """What a submitted job may take and cost; ``now``, the time of day, counts progress in."""
    money = job.money
    before = job.estimate or wire.Estimate()
    run_s, ucredits, left_s = before.run_s, before.ucredits, None
    if now is not None and (made := _completion(job, now)) is not None:
        run_s, ucredits, left_s = (
            Interval(*made.total_s),
            Interval(*made.cost_ucredits),
            made.left_s,
        )
    most = job.max_cost_ucredits
    spent = cost_usd(job, now or job.submitted_at)
    has_fuse = bool(most and money.rate_ucredits_per_h)
    return Estimate(
        run_s=run_s,
        usd=None if ucredits is None else in_usd(ucredits),
        left_s=left_s,
        basis=before.basis,
        runs=before.runs,
        max_usd=None if most is None else meter.usd_of(most),
        fuse_share=min(1.0, spent / meter.usd_of(most or 1)) if has_fuse else None,
        usd_per_h=money.usd_per_h or meter.usd_of(money.rate_ucredits_per_h),
        hold_usd=meter.usd_of(money.hold_ucredits),
        hold_credits=meter.credits_of(money.hold_ucredits),
        simulated=money.simulated,
    )


def line(job: JobView, usd: float) -> str:
    """A job in one line."""
    parts = [job.status]
    if job.stage and job.stage not in (Stage.DONE, Stage.WAITING):
        parts.append(job.stage)
    if job.detail or job.reason:
        parts.append(job.detail or job.reason.replace("_", " "))
    if job.machine != "local":
        parts.append(job.machine + (" (simulated)" if job.money.simulated else ""))
    if usd:
        parts.append(meter.text_of(meter.ucredits_of_usd(usd)))
    what = f" {job.description!r}" if job.description else ""
    return f"<Job {job.id[:8]}{what}: {', '.join(parts)}>"


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def metadata(job: JobView) -> dict[str, Any]:
    """As ipyparallel names it."""
    return {
        "msg_id": job.id,
        "status": job.status,
        "submitted": _time(job.submitted_at),
        "started": _time(job.started_at),
        "completed": _time(job.ended_at),
        "engine_uuid": job.worker or None,
        "engine_id": job.worker or None,
    }


def receipt(job: JobView) -> dict[str, Any]:
    """What it was, where it ran, how long, and what it cost."""
    ran = job.started_at is not None and job.ended_at is not None
    return {
        "uuid": job.id,
        "kind": job.kind,
        "description": job.description,
        "visibility": job.visibility,
        "version": job.version,
        "status": job.status,
        "reason": job.reason,
        "detail": job.detail,
        "machine": job.machine,
        "simulated": job.money.simulated,
        "submitted": _iso(job.submitted_at),
        "started": _iso(job.started_at),
        "ended": _iso(job.ended_at),
        "run_s": round((job.ended_at or 0) - (job.started_at or 0), 3) if ran else None,
        "usd_per_h": estimate(job).usd_per_h,
        "credits": meter.credits_of(job.money.cost_ucredits),
        "usd": meter.usd_of(job.money.cost_ucredits),
        "inputs": [msgspec.structs.asdict(name) for name in job.inputs],
        "inputs_bytes": job.inputs_bytes,
        "peak_memory_bytes": job.metrics.peak_memory_bytes if job.metrics else None,
        "code_digest": job.code_digest,
    }


def _iso(at: float | None) -> str | None:
    time = _time(at)
    return None if time is None else time.isoformat(timespec="milliseconds")
