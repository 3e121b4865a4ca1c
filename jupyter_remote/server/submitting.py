"""From a submit request to a job for the store: checks, machine, price, hold. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence

import msgspec
from blake3 import blake3

from jupyter_remote import errors, wire
from jupyter_remote.amounts import duration
from jupyter_remote.model import JobId, JobRecord, Limits, MachineType, OwnerId
from jupyter_remote.money.billing import LEAST_RUN_S, Billing, least_ucredits
from jupyter_remote.money.catalog import check_price, choose
from jupyter_remote.money.meter import (
    MOST_UCREDITS,
    amount_text,
    cost_ucredits,
    longest_run_s,
    ucredits_of_usd,
)
from jupyter_remote.settings import Settings
from jupyter_remote.store.base_parts import NewJob
from jupyter_remote.wire import MOST_BYTES

BATCH_JOBS = 100_000
BATCH_BYTES = 64 * 1024 * 1024  # that the database holds once for each job
RETRIES = 1000
TEXT_CHARS = 10_000  # of a description
NAME_CHARS = 1000  # of a notebook
CACHE_CHARS = 4_000_000  # of the parts of a key
SEGMENTS = 100_000
LOCK_CHARS = 1_000_000
LONGEST_S = 10 * 365 * 86_400.0

SOURCE_CHARS = 1200
_SOURCE = re.compile(r"s3://[^/\s]+/[^\r\n\0]+")
_VERSION = re.compile(r"[\w\"/+=-]{0,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LABEL = re.compile(r"[\w.:@+-]{0,128}")


class Resumed(msgspec.Struct, frozen=True):
    """What a new job goes on from."""

    job: JobId
    value: wire.Parcel
    note: str  # for its history


class Price(msgspec.Struct, frozen=True):
    """What a run is held for."""

    machine: MachineType
    rate_ucredits_per_h: int
    max_run_s: float
    hold_ucredits: int
    gpus: int = 0  # of the machine's, that are paid for; 0: all of it


def check_digest(digest: str) -> str:
    """The digest. Raises InvalidRequest when it is none."""
    if not _DIGEST.fullmatch(digest):
        raise errors.InvalidRequest("A digest is 64 lower-case hex digits (BLAKE3).")
    return digest


def check_job_id(id: str) -> JobId:
    """A client-made job id, in the one form that is stored. Raises InvalidRequest."""
    try:
        canonical = str(uuid.UUID(id))
    except ValueError:
        canonical = ""
    if canonical != id:
        raise errors.InvalidRequest(f"A job id is a lower-case UUID with dashes, not {id[:50]!r}.")
    return JobId(id)


def check_label(what: str, label: str) -> str:
    """A name that a client made up. Raises InvalidRequest."""
    if not _LABEL.fullmatch(label):
        raise errors.InvalidRequest(f"{what} is up to 128 letters, digits and .:@+-_")
    return label


def _check_range(what: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise errors.InvalidRequest(f"{what} must be between {low:g} and {high:g}, not {value}.")


def check_need(need: wire.Need) -> None:
    """Raises InvalidRequest for figures that no machine has."""
    _check_range("cpus", need.cpus, 0, 1e6)
    _check_range("memory_bytes", need.memory_bytes, 0, MOST_BYTES)
    _check_range("gpu_count", need.gpu_count, 0, 1000)


def check_limits(timeout_s: float | None, max_cost_ucredits: int | None) -> None:
    """Raises InvalidRequest for limits that mean nothing."""
    _check_range("timeout_s", timeout_s, 0.001, LONGEST_S)
    _check_range("max_cost_ucredits", max_cost_ucredits, 0, MOST_UCREDITS)


def _check_path(path: str) -> None:
    parts = path.split("/")
    bad = path.startswith("/") or "\\" in path or "\0" in path or ":" in parts[0]
    if bad or not path or any(p in ("", ".", "..") for p in parts):
        raise errors.InvalidRequest(f"{path[:200]!r} is not a relative path without '..'.")


def _check_source(file: wire.FileRef) -> None:
    sound = not file.source or _SOURCE.fullmatch(file.source)
    if not sound or not _VERSION.fullmatch(file.version) or len(file.source) > SOURCE_CHARS:
        raise errors.InvalidRequest(f"The source of {file.path[:200]} is no s3://BUCKET/KEY.")
    _check_range("source_bytes", file.source_bytes, 0, MOST_BYTES)


def _check_links(request: wire.SubmitRequest) -> None:
    """Each file is read from one address, which is of the web."""
    sources = {file.source for file in request.spec.files if file.source}
    for link in request.links:
        if link.source not in sources or not link.url.startswith(("https://", "http://")):
            raise errors.InvalidRequest("links are addresses of the sources of files.")
    if len(request.links) > len(sources):
        raise errors.InvalidRequest("links has more than one address of a source.")


def parcels_of(spec: wire.JobSpec) -> Iterator[wire.Segment]:
    """All segments that a spec refers to."""
    for parcel in (spec.function, spec.inputs, spec.checkpoint):
        if parcel is not None:
            yield from parcel.segments
    for file in (*spec.files, *_wheels(spec)):
        yield file.content


def _wheels(spec: wire.JobSpec) -> list[wire.FileRef]:
    return spec.environment.wheels if spec.environment is not None else []


def check_segments(segments: Sequence[wire.Segment]) -> None:
    """Raises InvalidRequest unless digests and sizes are sound and inline bytes fit theirs."""
    if len(segments) > SEGMENTS:
        raise errors.TooLarge(f"More than {SEGMENTS} segments.")
    for segment in segments:
        check_digest(segment.digest)
        _check_range("size_bytes", segment.size_bytes, 0, MOST_BYTES)
        if segment.data is not None and len(segment.data) != segment.size_bytes:
            raise errors.InvalidRequest("The size of an inline segment is not that of its data.")
        if segment.chunks:
            check_chunks(segment.chunks, segment.size_bytes)


def check_chunks(chunks: Sequence[tuple[str, int]], size_bytes: int) -> None:
    """Raises InvalidRequest unless the chunks add up to the segment."""
    for digest, size in chunks:
        check_digest(digest)
        _check_range("chunk size", size, 1, MOST_BYTES)
    if sum(size for _, size in chunks) != size_bytes:
        raise errors.InvalidRequest("The chunks do not add up to size_bytes.")


def check(request: wire.SubmitRequest) -> None:
    """Raises InvalidRequest, with the field, for a request that cannot be meant."""
    check_job_id(request.id)
    check_label("client", request.client)
    check_label("batch", request.batch or "")
    check_code(request)
    check_need(request.need)
    check_limits(request.timeout_s, request.max_cost_ucredits)
    _check_range("retries", request.retries, 0, RETRIES)
    _check_range("max_attempts", request.max_attempts, 1, RETRIES)
    if len(request.description) > TEXT_CHARS:
        raise errors.TooLarge(f"A description has at most {TEXT_CHARS} characters.")
    _check_session(request.spec)
    _check_environment(request.spec.environment)
    for file in (*request.spec.files, *_wheels(request.spec)):
        _check_path(file.path)
        _check_range("mode", file.mode, 0, 0o777)
        _check_source(file)
    _check_links(request)
    check_segments(list(parcels_of(request.spec)))


def check_code(request: wire.SubmitRequest | wire.EstimateRequest) -> None:
    """Raises InvalidRequest for what cannot name code, a notebook or its cell."""
    if request.code_key:
        check_digest(request.code_key)
    if isinstance(request, wire.SubmitRequest):
        if request.cache is not None:
            _check_cache(request.cache)
        if max(len(request.cell), len(request.cell_code)) > NAME_CHARS:
            raise errors.TooLarge(f"The id of a cell has at most {NAME_CHARS} characters.")
    if len(request.notebook) > NAME_CHARS:
        raise errors.TooLarge(f"The name of a notebook has at most {NAME_CHARS} characters.")


def _cache_of(request: wire.SubmitRequest) -> wire.CacheAsk | None:
    """What a session holds, or a checkpoint, is in no key; jobs of a batch share one."""
    alone = not request.spec.session and request.batch is None and not request.resume
    return request.cache if alone else None


def _check_cache(ask: wire.CacheAsk) -> None:
    check_digest(ask.key)
    size = sum(len(p.name) + len(p.digest) + len(p.text) for p in ask.parts) + len(ask.name)
    if size > CACHE_CHARS:
        raise errors.TooLarge(f"What a key is made of has at most {CACHE_CHARS} characters.")


def _check_environment(environment: wire.EnvironmentSpec | None) -> None:
    """What is in the lock, its worker checks."""
    if environment is None:
        return
    check_digest(environment.digest)
    if len(environment.lock) > LOCK_CHARS:
        raise errors.TooLarge(f"A lock has at most {LOCK_CHARS} characters.")


def _check_session(spec: wire.JobSpec) -> None:
    check_label("session", spec.session)
    if (spec.kind == "session") and not spec.session:
        raise errors.InvalidRequest("A session has a name.")
    if spec.session and spec.kind not in ("session", "cell"):
        raise errors.InvalidRequest(f"A {spec.kind} runs in no session.")
    _check_range("gpu_idle_s", spec.gpu_idle_s, 0, LONGEST_S)
    _check_range("idle_timeout_s", spec.idle_timeout_s, 0.001, LONGEST_S)


def price(
    need: wire.Need,
    timeout_s: float | None,
    max_cost_ucredits: int | None,
    machines: Sequence[MachineType],
    settings: Settings,
) -> Price:
    """Machine, frozen rate, longest run and hold. Raises UnknownMachine."""
    check_need(need)
    check_limits(timeout_s, max_cost_ucredits)
    machine = check_price(choose(need, machines))
    gpus = part_of(need, machine)
    rate = ucredits_of_usd(machine.usd_per_h)
    if gpus:
        rate = -(-rate * gpus // machine.gpu_count)
    check_max_cost(max_cost_ucredits, rate, machine)
    run_s = longest_run_s(rate, settings.longest_run_s, timeout_s, max_cost_ucredits)
    return Price(machine, rate, run_s, cost_ucredits(rate, run_s), gpus)


def part_of(need: wire.Need, machine: MachineType) -> int:
    """How many GPUs of a machine a job takes for itself: those it asked for, of a type that it
    named and that has more. Others of its owner may have the rest. 0: the whole machine."""
    part = bool(need.machine and need.gpu) and 0 < need.gpu_count < machine.gpu_count
    return need.gpu_count if part and machine.id != "local" else 0


def check_max_cost(max_cost_ucredits: int | None, rate: int, machine: MachineType) -> None:
    """Raises UsageError, with the least price, for a limit that pays for no run at all."""
    least = least_ucredits(rate, Billing())
    if max_cost_ucredits is not None and max_cost_ucredits < least:
        raise errors.UsageError(
            f"--max-cost {amount_text(max_cost_ucredits)} is below the least price of a job on "
            f"{machine.id}: {amount_text(least)} for {duration(LEAST_RUN_S)} of run.",
            hint="Nothing was sent or held. Allow more, or choose a cheaper machine.",
        )


def new_job(
    request: wire.SubmitRequest,
    owner: OwnerId,
    machines: Sequence[MachineType],
    settings: Settings,
    session: JobRecord | None = None,
    resumed: Resumed | None = None,
) -> NewJob:
    """The job to write. ``session``: the one that it is to run in, which pays for its time.
    ``resumed``: what it goes on from.

    Raises InvalidRequest, UnknownMachine.
    """
    check(request)
    spec = request.spec
    if resumed is not None:
        spec = msgspec.structs.replace(spec, checkpoint=resumed.value)
    timeout_s, max_cost = request.timeout_s, request.max_cost_ucredits
    need = request.need if session is None else wire.Need(machine=session.machine)
    priced = price(need, timeout_s, max_cost, machines, settings)
    if session is not None:
        priced = msgspec.structs.replace(priced, rate_ucredits_per_h=0, hold_ucredits=0)
    body = msgspec.json.encode(request)
    return NewJob(
        id=check_job_id(request.id),
        owner=owner,
        body_digest=blake3(body).hexdigest(),
        client=request.client,
        kind=spec.kind,
        description=request.description,
        visibility=request.visibility,
        machine=priced.machine.id,
        simulated=priced.machine.simulated,
        spec=msgspec.json.encode(spec),
        segments=[s for s in parcels_of(spec) if s.data is None],
        limits=Limits(
            timeout_s=timeout_s,
            max_run_s=priced.max_run_s,
            max_cost_ucredits=max_cost,
            memory_bytes=request.need.memory_bytes or None,
        ),
        # A namespace that was lost is not quietly replaced by an empty one.
        max_attempts=1 if spec.session else request.max_attempts,
        retries=request.retries,
        rate_ucredits_per_h=priced.rate_ucredits_per_h,
        hold_ucredits=priced.hold_ucredits,
        batch=request.batch,
        session=spec.session,
        notebook=request.notebook,
        cell=request.cell,
        cell_code=request.cell_code,
        code_key=request.code_key,
        inputs_bytes=sum(s.size_bytes for s in parcels_of(request.spec)),
        fuse="max_cost" if max_cost is not None and priced.rate_ucredits_per_h else "",
        priced_on=priced.machine.priced_on,
        gpus=priced.gpus,
        resumes=None if resumed is None else resumed.job,
        note="" if resumed is None else resumed.note,
        cache=None if resumed else _cache_of(request),  # it would begin in the midst
        results_id=results_id(request),
        offer=priced.machine,
    )


def results_id(request: wire.SubmitRequest) -> str:
    """A new address for the result of a job that is not private; a session has no result."""
    shared = request.visibility != "private" and request.spec.kind != "session"
    return new_results_id() if shared else ""


def new_results_id() -> str:
    """122 random bits: nobody guesses one."""
    return str(uuid.uuid4())


def requests_of(batch: wire.BatchRequest) -> list[wire.SubmitRequest]:
    """The jobs of a batch. Raises InvalidRequest when ids and inputs do not pair up."""
    check_label("batch id", batch.id)
    if not batch.ids or len(batch.ids) != len(batch.inputs):
        raise errors.InvalidRequest("A batch has as many inputs as ids, and at least one.")
    if len(batch.ids) > BATCH_JOBS:
        raise errors.TooLarge(f"A batch has at most {BATCH_JOBS} jobs.")
    template = batch.template
    if template.spec.session:
        raise errors.InvalidRequest("Jobs of a batch run in no session, and are none.")
    each = sum(len(s.data) for s in parcels_of(template.spec) if s.data is not None)
    if each * len(batch.ids) > BATCH_BYTES:
        raise errors.TooLarge(
            f"{len(batch.ids)} jobs with {each} bytes each of function and files are too much.",
            hint="Send these as blobs, which are stored once.",
        )
    if len(set(batch.ids)) != len(batch.ids):
        raise errors.InvalidRequest("The ids of a batch are not all different.")
    replace = msgspec.structs.replace
    return [
        replace(template, id=id, spec=replace(template.spec, inputs=inputs), batch=batch.id)
        for id, inputs in zip(batch.ids, batch.inputs, strict=True)
    ]
