"""From a spec to a job: one POST, then whatever the backend lacks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from jupyter_remote import errors, mapping
from jupyter_remote.client import transfer
from jupyter_remote.client.context import FULL_ID, Context
from jupyter_remote.client.files import links_of
from jupyter_remote.client.handle import EventCallback, provisional
from jupyter_remote.client.job import Job
from jupyter_remote.client.options import Options
from jupyter_remote.client.origin import Cell, Origin
from jupyter_remote.client.sharing import opens_where
from jupyter_remote.model import Stage
from jupyter_remote.money import budgets
from jupyter_remote.money.offers import too_little
from jupyter_remote.wire import (
    CHUNKED_BYTES,
    Bar,
    BatchRequest,
    BatchSubmitted,
    FileRef,
    JobSpec,
    JobView,
    MissingSegment,
    Parcel,
    RepeatRequest,
    Segment,
    SubmitRequest,
    Submitted,
)

if TYPE_CHECKING:
    from jupyter_remote.values import Packed

OnJob = Callable[[Job], None]

BATCH_JOBS = 1000  # in one request
BATCH_BYTES = 16 * 1024 * 1024  # of inline values in one request
TOLD_ABOVE_BYTES = 4 * 1024 * 1024  # sending less is over before a bar could be read
TOLD_EVERY_S = 0.1


class File(Protocol):
    """A file to be placed in the job's folder, as :mod:`capture` gives it."""

    @property
    def ref(self) -> FileRef: ...
    @property
    def content(self) -> Any: ...


def request_of(
    context: Context, id: str, spec: JobSpec, options: Options, origin: Origin
) -> SubmitRequest:
    """The request for a job under these options."""
    if options.gpu_idle_s is not None:
        spec = msgspec.structs.replace(spec, gpu_idle_s=options.gpu_idle_s)
    return SubmitRequest(
        id=id,
        spec=spec,
        need=options.need,
        description=options.description,
        visibility=options.visibility,
        client=context.client,
        timeout_s=options.timeout_s,
        max_cost_ucredits=options.max_cost_ucredits,
        retries=options.retries,
        max_attempts=options.max_attempts,
        notebook=origin.notebook,
        cell=origin.cell.id,
        cell_code=origin.cell.code,
        code_key=origin.code_key,
        cache=origin.cache,
        resume=whole_id(context, options.resume),
        links=links_of(spec.files) if any(file.source for file in spec.files) else [],
    )


def whole_id(context: Context, id: str) -> str:
    """Of a job that was named by the beginning of its id, or as ``last``. Raises NotFound."""
    return id if not id or len(id) == FULL_ID else context.job(id, None).id


class CutFile(NamedTuple):
    """A file whose content is known by its chunks."""

    ref: FileRef
    content: Any


def with_chunks(
    context: Context, spec: JobSpec, packed: Sequence[Packed], files: Sequence[File] = ()
) -> tuple[JobSpec, Sequence[Packed], Sequence[File]]:
    """Large values and files cut into chunks, so that only new ones travel; needless on one
    machine."""
    segments = [*(s for p in packed for s in p.parcel.segments), *(f.ref.content for f in files)]
    if not any(map(large, segments)) or transfer.spool_of(context.link) is not None:
        return spec, packed, files
    from jupyter_remote import values

    replace = msgspec.structs.replace
    known = {f.ref.path: _cut_file(f) if large(f.ref.content) else f for f in files}
    cut = {id(p.parcel): values.with_chunks(p) for p in packed}
    changes = {
        name: cut[id(parcel)].parcel
        for name in ("function", "inputs")
        if (parcel := getattr(spec, name)) is not None and id(parcel) in cut
    }
    refs = [known[r.path].ref if r.path in known else r for r in spec.files]
    return replace(spec, files=refs, **changes), list(cut.values()), list(known.values())


def _cut_file(file: File) -> File:
    segment = msgspec.structs.replace(file.ref.content, chunks=mapping.cut(file.content))
    return CutFile(msgspec.structs.replace(file.ref, content=segment), file.content)


def large(segment: Segment) -> bool:
    """Is it worth cutting?"""
    return segment.data is None and segment.size_bytes > CHUNKED_BYTES


def outgoing_of(packed: Iterable[Packed], files: Iterable[File]) -> transfer.Outgoing:
    """What the backend may ask for."""
    outgoing = transfer.Outgoing()
    for one in packed:
        outgoing.add(one.parcel.segments, one.contents)
    for file in files:
        if file.ref.content.data is None:
            outgoing.add([file.ref.content], {file.ref.content.digest: file.content})
    return outgoing


def submit(
    context: Context,
    request: SubmitRequest,
    outgoing: transfer.Outgoing,
    *,
    namespace: dict[str, Any] | None,
    on_event: Sequence[EventCallback] = (),
    on_job: OnJob | None = None,
    notices: Sequence[str] = (),
) -> Job:
    """Submit one job. Sent again over a mended way with the same id, it stays one job.

    ``on_job`` is called with its handle before anything is sent.
    """
    job = _handle(context, request, request.id, namespace)
    for callback in on_event:
        job.on_event(callback)
    if on_job is not None:
        on_job(job)
    context.link.check()
    context.listener.watch(job)
    with _given_up([job]):
        reply = context.link.call("POST", "/v1/jobs", request, reply=Submitted)
    context.newest = job.id
    job.accepted(reply.job)
    for notice in [*notices, *_told_of(context, reply.job)]:
        job.say("notice", {"text": notice})
    if reply.missing:
        _send(context, [job], reply.missing, outgoing)
    return job


def _told_of(context: Context, view: JobView) -> list[str]:
    """What its user should know of a job that the backend took."""
    most, rate = view.max_cost_ucredits, view.money.rate_ucredits_per_h
    little = too_little(most, rate, view.estimate)
    return [
        *_opens_at(context, view),
        *budgets.notices_of_cut(view.fuse, view.money.hold_ucredits),
        *([little] if little else []),
    ]


def _opens_at(context: Context, view: JobView) -> list[str]:
    if not view.results_uuid:
        return []
    url = f"{context.link.http.url}/results/{view.results_uuid}"
    where = f"{url} ({opens_where(url)})"
    return [f"{view.visibility}: its result will be at {where}"]


def repeat(
    context: Context,
    known: JobView,
    request: RepeatRequest,
    *,
    namespace: dict[str, Any] | None,
    on_job: OnJob | None = None,
) -> Job:
    """Have the backend run a job that it knows once more; nothing has to be sent for that."""
    machine = request.need.machine if request.need is not None else known.machine
    description = request.description or known.description
    cell = Cell(request.cell, request.cell_code)
    view = provisional(request.id, known.kind, description, machine, known.visibility, cell)
    job = Job(context, view, namespace=namespace, own=True)
    if on_job is not None:
        on_job(job)
    context.link.check()
    context.listener.watch(job)
    with _given_up([job]):
        path = f"/v1/jobs/{known.id}/repeat"
        reply = context.link.call("POST", path, request, reply=Submitted)
    context.newest = job.id
    job.accepted(reply.job)
    return job


def submit_many(
    context: Context,
    template: SubmitRequest,
    inputs: Iterable[Packed],
    outgoing: transfer.Outgoing,
    *,
    namespace: dict[str, Any] | None,
) -> list[Job]:
    """Submit one job for each of ``inputs``, many in a request."""
    jobs: list[Job] = []
    for some in _groups(inputs):
        parcels = [packed.parcel for packed in some]
        for packed in some:
            outgoing.add(packed.parcel.segments, packed.contents)
        jobs += _submit_group(context, template, parcels, outgoing, namespace)
    return jobs


def _submit_group(
    context: Context,
    template: SubmitRequest,
    parcels: list[Parcel],
    outgoing: transfer.Outgoing,
    namespace: dict[str, Any] | None,
) -> list[Job]:
    ids = [str(uuid.uuid4()) for _ in parcels]
    jobs = [_handle(context, template, id, namespace) for id in ids]
    context.link.check()
    for job in jobs:
        context.listener.watch(job)
    request = BatchRequest(id=template.id, template=template, ids=ids, inputs=parcels)
    with _given_up(jobs):
        reply = context.link.call("POST", "/v1/batches", request, reply=BatchSubmitted)
    context.newest = ids[-1]
    for job in jobs:
        job.submitted = True
    if reply.missing:
        _send(context, jobs, reply.missing, outgoing)
    return jobs


def _groups(inputs: Iterable[Packed]) -> Iterable[list[Packed]]:
    some: list[Packed] = []
    size = 0
    for packed in inputs:
        inline = sum(len(s.data) for s in packed.parcel.segments if s.data is not None)
        if some and (len(some) >= BATCH_JOBS or size + inline > BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append(packed)
        size += inline
    if some:
        yield some


def _handle(
    context: Context, request: SubmitRequest, id: str, namespace: dict[str, Any] | None
) -> Job:
    kind, machine = request.spec.kind, request.need.machine
    cell = Cell(request.cell, request.cell_code)
    view = provisional(id, kind, request.description, machine, request.visibility, cell)
    return Job(context, view, namespace=namespace, own=True)


def _send(
    context: Context,
    jobs: list[Job],
    missing: list[MissingSegment],
    outgoing: transfer.Outgoing,
) -> None:
    """Send what is missing."""
    for job in jobs:
        job.say("status", {"status": job.status, "stage": Stage.SENDING_INPUTS})
    with _given_up(jobs):
        transfer.send(context.link, missing, outgoing, _Meter(jobs[0]))


@contextmanager
def _given_up(jobs: list[Job]) -> Iterator[None]:
    """Cancels jobs that did not come to the backend whole: they can never run. What was refused
    is only forgotten."""
    try:
        yield
    except BaseException as error:
        taken = any(job.submitted for job in jobs)
        if taken or isinstance(error, KeyboardInterrupt):
            _stop(jobs, error)
        else:
            for job in jobs:
                job.forget()
        raise


def _stop(jobs: list[Job], error: BaseException) -> None:
    """Cancels them, and says on ``error`` what came of it."""
    stopped, trouble = 0, ""
    for job in jobs:
        try:
            stopped += job.cancel()
        except errors.JupyterRemoteError as also:
            trouble = trouble or f": {also.message}"
            if isinstance(also, errors.NotFound):
                job.forget()
    first = jobs[0].id[:8]
    what = f"job {first}" if len(jobs) == 1 else f"{len(jobs)} jobs, the first {first},"
    if stopped == len(jobs):
        note = f"{what} will not run: not all inputs were sent"
    else:
        note = f"{what} may run{trouble}; `%remote cancel {first}` stops it"
    if isinstance(error, KeyboardInterrupt):
        errors.explain(error, note)
    elif stopped < len(jobs):
        error.add_note(note)


class _Meter:
    """A bar of what is being sent, at most ten times a second."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._started = self._told = time.monotonic()
        self._open = False

    def __call__(self, sent: int, total: int) -> None:
        now = time.monotonic()
        last = sent >= total
        if total < TOLD_ABOVE_BYTES or (now - self._told < TOLD_EVERY_S and not last):
            return
        if last and not self._open:
            return
        state = "close" if last else ("update" if self._open else "open")
        self._open, self._told = True, now
        elapsed_s = now - self._started
        self._job.say(
            "progress",
            Bar(
                id="sending inputs",
                n=sent,
                total=total,
                description="sending inputs",
                unit="B",
                rate=sent / elapsed_s if elapsed_s else None,
                elapsed_s=elapsed_s,
                state=state,  # type: ignore[arg-type]
                leave=False,
            ),
        )


def segments_of(spec: JobSpec) -> list[Segment]:
    """Segments of a spec that are not inline, each once."""
    parcels = [p for p in (spec.function, spec.inputs) if p is not None]
    wheels = spec.environment.wheels if spec.environment is not None else []
    every = [s for p in parcels for s in p.segments]
    every += [f.content for f in (*spec.files, *wheels)]
    return list({s.digest: s for s in every if s.data is None}.values())
