"""A job as the API and its events show it. Pure; the server uses it too."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from jupyter_remote import __version__
from jupyter_remote.model import JobRecord, JobState, MachineType, Status
from jupyter_remote.money.meter import cost_ucredits, usd_of
from jupyter_remote.store.base_parts import Totals
from jupyter_remote.wire import (
    AccountSummary,
    Bar,
    Checkpoint,
    Estimate,
    JobView,
    Metrics,
    Money,
    NameInfo,
    code_digest_of,
    encode,
)

NAMES_SHOWN = 100
DAY_S = 86_400


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a view tells of a job's spec; made once, at submit."""

    inputs: list[NameInfo] = []
    inputs_bytes: int = 0
    code_digest: str = ""
    offer: MachineType | None = None  # what it runs on, as the catalogue has it now


class _Sized(msgspec.Struct, frozen=True):
    size_bytes: int = 0


class _Inputs(msgspec.Struct, frozen=True):
    segments: list[_Sized] = []
    names: list[NameInfo] = []


class _File(msgspec.Struct, frozen=True):
    content: _Sized = _Sized()


class _Spec(msgspec.Struct, frozen=True):
    """The parts of wire.JobSpec that are needed here; inline bytes are skipped over."""

    code: str = ""
    name: str = ""
    sources: dict[str, str] = {}
    inputs: _Inputs | None = None
    files: list[_File] = []


class _Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """wire.Done, with its parts as the bytes that they are stored as."""

    job: JobView
    result: msgspec.Raw | None = None
    error: msgspec.Raw | None = None
    receipt: msgspec.Raw | None = None


_specs = msgspec.json.Decoder(_Spec)
_summaries = msgspec.json.Decoder(Summary)
_bars = msgspec.json.Decoder(list[Bar])
_metrics = msgspec.json.Decoder(Metrics)
_estimates = msgspec.json.Decoder(Estimate)
_checkpoints = msgspec.json.Decoder(Checkpoint)


def summary_of(spec: bytes, offer: MachineType | None = None) -> Summary:
    """From JSON of wire.JobSpec; empty for anything else (the spec is opaque to the store)."""
    try:
        known = _specs.decode(spec)
    except msgspec.MsgspecError:
        return Summary(offer=offer)
    inputs = known.inputs or _Inputs()
    sizes = [s.size_bytes for s in inputs.segments] + [f.content.size_bytes for f in known.files]
    digest = code_digest_of(known.code, known.name, known.sources.values())
    return Summary(inputs.names[:NAMES_SHOWN], sum(sizes), digest, offer)


def money_of(job: JobRecord, now: float | None = None) -> Money:
    """What the job costs; with ``now`` a running one's cost so far, never above its hold."""
    cost = job.cost_ucredits
    if now is not None and job.state is JobState.RUNNING and job.started_at is not None:
        cost += cost_ucredits(job.rate_ucredits_per_h, now - job.started_at)
    return Money(
        rate_ucredits_per_h=job.rate_ucredits_per_h,
        hold_ucredits=job.hold_ucredits,
        cost_ucredits=min(cost, job.hold_ucredits),
        usd_per_h=usd_of(job.rate_ucredits_per_h),
        simulated=job.simulated,
    )


def midnight(now: float) -> float:
    """When the day began, in UTC: the same for all who look, wherever they are."""
    return now - now % DAY_S


def account_of(totals: Totals, now: float) -> AccountSummary:
    """By the numbers of the cards. Pure."""
    running = [job for job in totals.active if job.state is JobState.RUNNING]
    sessions = sum(job.kind == "session" for job in running)
    rate = sum(job.rate_ucredits_per_h for job in running)
    so_far = sum(money_of(job, now).cost_ucredits - job.cost_ucredits for job in running)
    return AccountSummary(
        running=len(running) - sessions,
        sessions=sessions,
        queued=totals.queued + len(totals.active) - len(running),
        rate_ucredits_per_h=rate,
        usd_per_h=usd_of(rate),
        simulated=any(job.simulated for job in running),
        spent_today_ucredits=totals.captured_ucredits + so_far,
        since_at=midnight(now),
        available_ucredits=totals.balance.available_ucredits,
        held_ucredits=totals.balance.held_ucredits,
        at=now,
    )


def view_of(
    job: JobRecord, *, now: float | None = None, cursor: int = 0, version: str = __version__
) -> JobView:
    """The job as users see it. ``now`` adds what a running job costs so far."""
    summary = _summaries.decode(job.summary) if job.summary else Summary()
    checkpoint = _checkpoints.decode(job.checkpoint) if job.checkpoint else None
    return JobView(
        id=job.id,
        kind=job.kind,
        status=job.status.value,
        stage=job.stage.value,
        reason=job.reason.value,
        detail=job.detail,
        description=job.description,
        visibility=job.visibility,
        version=version,
        machine=job.machine,
        money=money_of(job, now),
        client=job.client,
        batch=job.batch,
        session=job.session,
        attempt=job.epoch,
        worker=job.worker or "",
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        timeout_s=job.limits.timeout_s,
        max_cost_ucredits=job.limits.max_cost_ucredits,
        progress=_bars.decode(job.progress) if job.progress else [],
        metrics=_metrics.decode(job.metrics) if job.metrics else None,
        inputs=summary.inputs,
        inputs_bytes=summary.inputs_bytes,
        code_digest=summary.code_digest,
        cursor=cursor,
        notebook=job.notebook,
        cell=job.cell,
        cell_code=job.cell_code,
        fuse=job.fuse,
        estimate=_estimates.decode(job.estimate) if job.estimate else None,
        warned_at=job.warned_at,
        kill_at=job.kill_at if job.status is Status.CANCELLING else None,
        checkpoint_at=checkpoint.at if checkpoint else None,
        checkpoint_bytes=checkpoint.value.size_bytes if checkpoint else 0,
        resumes=job.resumes or "",
        cached_from=job.cached_from or "",
        saved_ucredits=job.saved_ucredits,
        priced_on=job.priced_on,
    )


def status_data(job: JobRecord, now: float) -> bytes:
    """Data of a ``status`` event."""
    return encode(view_of(job, now=now))


def done_data(job: JobRecord) -> bytes:
    """Data of the ``done`` event: JSON of wire.Done."""
    result = msgspec.Raw(job.result) if job.result is not None else None
    error = msgspec.Raw(job.error) if job.error is not None else None
    # ten thousand calls of a map have theirs at their own addresses alone
    receipt = msgspec.Raw(job.receipt) if job.receipt is not None and job.batch is None else None
    return encode(_Done(view_of(job), result, error, receipt))


def merge_bars(before: bytes | None, bars: Iterable[Bar]) -> bytes:
    """JSON of the latest of each bar, in the order of their first appearance."""
    latest = {bar.id: bar for bar in (_bars.decode(before) if before else [])}
    latest.update((bar.id, bar) for bar in bars)
    return encode(list(latest.values()))
