"""The receipt of a job that ended: what it was, where it ran, what it used and cost. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from jupyter_remote.model import (
    AttemptRecord,
    JobRecord,
    JobState,
    MachineType,
    Reason,
    WorkerRecord,
)
from jupyter_remote.money.advice import advise
from jupyter_remote.money.budgets import FUSE
from jupyter_remote.money.meter import usd_of
from jupyter_remote.money.waiting import split_of
from jupyter_remote.wire import (
    RECEIPT,
    Metrics,
    NameInfo,
    Receipt,
    ReceiptAttempt,
    ReceiptCost,
    ReceiptEnvironment,
    ReceiptFile,
    ReceiptPrice,
)

SHOWN = 100  # names, segments and files that are listed; digests are of all


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows beside the job itself."""

    version: str  # of the program
    attempts: Sequence[AttemptRecord]
    charged: Mapping[tuple[str, int], int] = {}  # (kind of posting, epoch) → micro-credits
    worker: WorkerRecord | None = None
    provider: str = ""
    offer: MachineType | None = None  # the machine type as frozen at submit
    machines: Sequence[MachineType] = ()  # what else can be had
    end_text: str = ""


class _Segment(msgspec.Struct, frozen=True):
    digest: str = ""
    size_bytes: int = 0


class _Parcel(msgspec.Struct, frozen=True):
    segments: list[_Segment] = []
    python: str = ""
    versions: dict[str, str] = {}
    names: list[NameInfo] = []


class _File(msgspec.Struct, frozen=True):
    path: str = ""
    content: _Segment = _Segment()
    source: str = ""
    source_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return self.source_bytes or self.content.size_bytes


class _Environment(msgspec.Struct, frozen=True):
    digest: str = ""
    packages: dict[str, str] = {}


class _Spec(msgspec.Struct, frozen=True):
    """The parts of wire.JobSpec that are needed here; inline bytes are skipped over."""

    function: _Parcel | None = None
    inputs: _Parcel | None = None
    files: list[_File] = []
    environment: _Environment | None = None


class _Result(msgspec.Struct, frozen=True):
    value: _Parcel | None = None


_specs = msgspec.json.Decoder(_Spec)
_results = msgspec.json.Decoder(_Result)
_metrics = msgspec.json.Decoder(Metrics)


def receipt_of(job: JobRecord, spec: bytes, around: Surroundings) -> Receipt:
    """``job`` as it ended; ``spec`` is JSON of wire.JobSpec (anything else is told as empty)."""
    sent = _decoded(_specs, spec, _Spec())
    use = _decoded(_metrics, job.metrics, None)
    offer = around.offer
    ended_well = job.state is JobState.SUCCEEDED
    started = [a.started_at for a in around.attempts if a.started_at is not None]
    until = min(started, default=job.ended_at or job.submitted_at)
    return Receipt(
        receipt=RECEIPT,
        id=job.id,
        kind=job.kind,
        status=job.status.value,
        reason=job.reason.value,
        detail=job.detail,
        ended_by=_ended_by(job),
        end_text=around.end_text,
        description=job.description,
        visibility=job.visibility,
        version=around.version,
        notebook=job.notebook,
        session=job.session,
        batch=job.batch or "",
        resumes=job.resumes or "",
        cached_from=job.cached_from or "",
        code_key=job.code_key,
        code_digest=job.code_digest,
        **_sent(sent),
        environment=_environment(job, sent, around.worker),
        machine=job.machine,
        simulated=job.simulated,
        offer=offer,
        provider=around.provider,
        worker=job.worker or "",
        price=_price(job, offer),
        submitted_at=job.submitted_at,
        claimed_at=job.claimed_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        waited_s=round(max(0.0, until - job.submitted_at), 3),
        ran_s=round(sum(map(_ran_s, around.attempts)), 3),
        attempts=[_attempt(a, around.charged) for a in around.attempts],
        use=use,
        cost=_cost(job, use, around.charged),
        advice=advise(offer, use, around.machines) if offer is not None and ended_well else None,
    )


def _ended_by(job: JobRecord) -> str:
    if job.cached_from is not None:
        return "cache"
    if job.reason is Reason.COST_LIMIT and job.fuse.startswith(FUSE):
        return job.fuse
    if job.reason is Reason.CANCELLED and not job.cancel_requested:
        return "code"  # it interrupted itself
    return _ENDED_BY.get(job.reason, "code")


_ENDED_BY: dict[Reason, str] = {
    Reason.CANCELLED: "user",
    Reason.TIME_LIMIT: "time limit",
    Reason.COST_LIMIT: "cost limit",
    Reason.GPU_IDLE: "idle limit",
    Reason.LOST: "platform",
    Reason.POISON: "platform",
    Reason.ENVIRONMENT: "platform",
    Reason.NO_MACHINE: "platform",
    Reason.OUT_OF_MEMORY: "system",
    Reason.KERNEL_DIED: "system",
}


def _decoded(decoder: msgspec.json.Decoder[Any], data: bytes | None, default: Any) -> Any:
    try:
        return decoder.decode(data) if data else default
    except msgspec.MsgspecError:  # opaque to whoever stored it
        return default


def _sent(spec: _Spec) -> dict[str, Any]:
    inputs = spec.inputs or _Parcel()
    files = sorted(spec.files, key=lambda file: file.path)
    listed = [ReceiptFile(f.path, f.content.digest, f.size_bytes, f.source) for f in files]
    sizes = (s.size_bytes for s in [*inputs.segments, *(f.content for f in files)])
    return {
        "inputs": inputs.names[:SHOWN],
        "inputs_bytes": sum(sizes),
        "inputs_digest": _digest(s.digest for s in inputs.segments),
        "segments": [(s.digest, s.size_bytes) for s in inputs.segments[:SHOWN]],
        "files": listed[:SHOWN],
        "files_digest": _digest(part for f in listed for part in (f.path, f.digest)),
    }


def _digest(parts: Iterable[str]) -> str:
    """SHA-256 of all of them, in order; empty of none."""
    text = "\0".join(parts)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() if text else ""


def _environment(job: JobRecord, spec: _Spec, worker: WorkerRecord | None) -> ReceiptEnvironment:
    """What came back says which versions ran; what was sent is asked for the rest."""
    result = _decoded(_results, job.result, _Result()).value
    parcels = [p for p in (spec.function, spec.inputs, result) if p is not None]
    python = next((p.python for p in reversed(parcels) if p.python), "")
    made = spec.environment or _Environment()
    packages = dict(sorted(made.packages.items())[:SHOWN])
    packages |= {name: version for p in parcels for name, version in p.versions.items()}
    known = worker.python if worker is not None else ""
    return ReceiptEnvironment(
        python=known if known.startswith(python) else python,
        platform=worker.platform if worker is not None else "",
        packages=dict(sorted(packages.items())),
        lock=made.digest,
    )


def _price(job: JobRecord, offer: MachineType | None) -> ReceiptPrice:
    return ReceiptPrice(
        usd_per_h=usd_of(job.rate_ucredits_per_h),
        priced_on=job.priced_on or (offer.priced_on if offer else ""),
        source=offer.source if offer else "",
        spot=offer.spot if offer else False,
    )


def _ran_s(attempt: AttemptRecord) -> float:
    if attempt.started_at is None or attempt.ended_at is None:
        return 0.0
    return max(0.0, attempt.ended_at - attempt.started_at)


def _attempt(attempt: AttemptRecord, charged: Mapping[tuple[str, int], int]) -> ReceiptAttempt:
    return ReceiptAttempt(
        epoch=attempt.epoch,
        worker=attempt.worker,
        how=attempt.state.value,
        claimed_at=attempt.claimed_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        signal=attempt.signal,
        charged_ucredits=charged.get(("capture", attempt.epoch), 0),
        lost_ucredits=charged.get(("platform_loss", attempt.epoch), 0),
    )


def _cost(
    job: JobRecord, use: Metrics | None, charged: Mapping[tuple[str, int], int]
) -> ReceiptCost:
    lost = sum(amount for (kind, _), amount in charged.items() if kind == "platform_loss")
    waiting = parts.waiting_ucredits if (parts := split_of(job, use)) is not None else None
    return ReceiptCost(
        total_ucredits=job.cost_ucredits,
        run_ucredits=job.cost_ucredits - (waiting or 0),
        waiting_ucredits=waiting,
        lost_ucredits=lost,
        saved_ucredits=job.saved_ucredits,
    )
