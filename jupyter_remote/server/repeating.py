"""Running once more what a job ran: from its beginning, or from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.amounts import size
from jupyter_remote.model import JobRecord
from jupyter_remote.server.jobs import SUBMIT, new_of, own_job, write
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.store.base_parts import NewJob

NAMES_TOLD = 20

_spec = msgspec.json.Decoder(wire.JobSpec).decode


async def repeat(call: Call) -> wire.Submitted:
    """Nothing is held, nor charged, when what it needs is not there any more."""
    backend = call.backend
    job = await own_job(call)
    shares = await backend.look(backend.store.shares, [job.id])
    request = request_of(job, call.body, is_shared=job.id in shares)
    if job.gpus and call.body.need is None:  # of a machine that has more
        gpu = next((m.gpu for m in backend.machines if m.id == job.machine), "")
        need = msgspec.structs.replace(request.need, gpu=gpu, gpu_count=job.gpus)
        request = msgspec.structs.replace(request, need=need)
    new = await new_of(call, request)
    missing = await backend.look(backend.store.missing, new.segments, call.caller.owner)
    if missing:
        gone = list(_gone(request.spec, {m.digest for m in missing}))
        raise errors.Conflict(
            f"Job {job.id[:8]} cannot be repeated, for not all that it was sent is there any more: "
            f"{'; '.join(gone)}. Nothing was charged.",
            hint="Run the code anew: what it needs is then sent again.",
        )
    return await write(call, _as_before(new, job, request.spec), _spec(new.spec))


def _as_before(new: NewJob, job: JobRecord, spec: wire.JobSpec) -> NewJob:
    """A repeat of what went on from a checkpoint does so, too, and says it."""
    if new.resumes is not None or spec.checkpoint is None:
        return new
    note = f"from the same checkpoint as job {job.id[:8]}"
    return msgspec.structs.replace(new, resumes=job.resumes, note=note)


def request_of(job: JobRecord, asked: wire.RepeatRequest, *, is_shared: bool) -> wire.SubmitRequest:
    """What would have to be submitted. Pure. Raises InvalidRequest for a session.

    ``is_shared``: its result still opens at an address; what was taken back is not given out again.
    """
    spec = _spec(job.spec)
    if spec.kind == "session":
        raise errors.InvalidRequest(
            "A session is no job to be repeated.", hint="`-s NAME` starts one of that name."
        )
    limits = job.limits
    as_it_was = wire.Need(machine=job.machine, memory_bytes=limits.memory_bytes or 0)
    cost, timeout_s = asked.max_cost_ucredits, asked.timeout_s
    return wire.SubmitRequest(
        id=asked.id,
        spec=spec,
        need=asked.need or as_it_was,
        description=asked.description or job.description,
        visibility=job.visibility if is_shared else "private",  # type: ignore[arg-type]
        client=asked.client,
        timeout_s=limits.timeout_s if timeout_s is None else timeout_s,
        max_cost_ucredits=limits.max_cost_ucredits if cost is None else cost,
        retries=job.retries,
        max_attempts=job.max_attempts,
        notebook=asked.notebook or job.notebook,
        cell=asked.cell,
        cell_code=asked.cell_code,
        code_key=job.code_key,
        resume=job.id if asked.resume else "",
    )


def _gone(spec: wire.JobSpec, digests: set[str]) -> Iterator[str]:
    """What is in these segments, as its user calls it."""
    if spec.function is not None and _touches(spec.function, digests):
        yield f"the function {spec.name}"
    if spec.inputs is not None and _touches(spec.inputs, digests):
        yield _inputs_text(spec.inputs.names) or "its inputs"
    for file in spec.files:
        if file.content.digest in digests:
            yield f"the file {file.path}"
    for wheel in spec.environment.wheels if spec.environment is not None else ():
        if wheel.content.digest in digests:
            yield f"the package {wheel.path}"
    if spec.checkpoint is not None and _touches(spec.checkpoint, digests):
        yield "the checkpoint that it went on from"


def _touches(parcel: wire.Parcel, digests: set[str]) -> bool:
    return any(s.data is None and s.digest in digests for s in parcel.segments)


def _inputs_text(names: Sequence[wire.NameInfo]) -> str:
    told = [f"{n.name} ({size(n.size_bytes)})" if n.name else "" for n in names[:NAMES_TOLD]]
    more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
    return ", ".join(filter(None, told)) + more


ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/v1/jobs/{id}/repeat",
        handler=repeat,
        summary="Run once more what a job of yours ran, from its checkpoint if asked for",
        policy=SUBMIT,
        body=wire.RepeatRequest,
        reply=wire.Submitted,
    ),
]
