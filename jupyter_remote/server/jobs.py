"""Routes of jobs and batches: submit, find, look, cancel, result, log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Literal

import msgspec
from starlette.types import ASGIApp

from jupyter_remote import errors, wire
from jupyter_remote.model import TERMINAL, JobId, JobRecord, JobState, Share
from jupyter_remote.server import cache
from jupyter_remote.server.auth import allow
from jupyter_remote.server.budgets import most_held
from jupyter_remote.server.checkpoints import resumed
from jupyter_remote.server.logs import LAST_BYTES, log_reply
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.server.submitting import check_job_id, new_job, requests_of
from jupyter_remote.settings import Settings
from jupyter_remote.store.base_parts import NewJob
from jupyter_remote.store.views import view_of

SHOWN = 500  # jobs of one page at most

_result = msgspec.json.Decoder(wire.Result)
_error = msgspec.json.Decoder(wire.RemoteFailure)
_spec = msgspec.json.Decoder(wire.JobSpec)
_receipt = msgspec.json.Decoder(wire.Receipt)

STATES: dict[str, tuple[JobState, ...]] = {
    "queued": (JobState.QUEUED, JobState.CLAIMED, JobState.RETRY_WAIT),
    "running": (JobState.RUNNING,),
    "cancelling": (JobState.RUNNING,),
    "completed": (JobState.SUCCEEDED,),
    "failed": (JobState.FAILED, JobState.EXPIRED),
    "cancelled": (JobState.CANCELLED,),
}


class JobsQuery(msgspec.Struct, frozen=True):
    """Which jobs, newest first."""

    status: (
        Literal["", "queued", "running", "cancelling", "completed", "failed", "cancelled"] | None
    ) = None
    client: str | None = None
    batch: str | None = None
    notebook: str | None = None  # that they come from
    prefix: str | None = None  # of the id
    ids: Annotated[str, msgspec.Meta(max_length=SHOWN * 37, pattern="^[0-9a-f,-]*$")] | None = (
        None  # with commas: only these
    )
    before: str = ""  # `next` of the page before
    limit: Annotated[int, msgspec.Meta(ge=1, le=SHOWN)] = 50


class LogQuery(msgspec.Struct, frozen=True):
    """How much of its end; without, all."""

    last_bytes: Annotated[int, msgspec.Meta(ge=1, le=LAST_BYTES)] | None = None


def not_found() -> errors.NotFound:
    """Absent and somebody else's look the same."""
    return errors.NotFound("There is no such job.", hint="`%remote jobs --all` lists yours.")


async def own_job(call: Call) -> JobRecord:
    """The job of the path, if it is the caller's. Raises NotFound."""
    try:
        job: JobRecord = await call.backend.look(
            call.backend.store.job, JobId(call.path["id"]), call.caller.owner
        )
    except errors.NotFound:
        raise not_found() from None
    return job


def view(call: Call, job: JobRecord, cursor: int = 0) -> wire.JobView:
    """The job as it is shown now."""
    shown = view_of(job, now=call.backend.clock.now(), cursor=cursor)
    detail = shown.detail or call.backend.scheduler.detail_of(job.id)
    return msgspec.structs.replace(shown, detail=detail)


async def views(call: Call, jobs: Sequence[JobRecord], cursor: int = 0) -> list[wire.JobView]:
    """The same of several, with who may see their results now."""
    shares = await call.backend.look(call.backend.store.shares, [j.id for j in jobs])
    return [_with_share(view(call, job, cursor), shares.get(job.id)) for job in jobs]


def _with_share(shown: wire.JobView, share: Share | None) -> wire.JobView:
    visibility, id = (share.visibility, share.id) if share else ("private", "")
    return msgspec.structs.replace(shown, visibility=visibility, results_uuid=id)


async def submit(call: Call) -> wire.Submitted:
    new = await new_of(call, call.body)
    spec = call.body.spec if new.resumes is None else _spec.decode(new.spec)
    with _sources(call, [new.id], call.body.links):
        reply = await write(call, new, spec)
    if reply.job.ended_at is not None:  # submitted once more, or taken from the cache
        call.backend.sources.forget(new.id)
    return reply


@contextmanager
def _sources(call: Call, ids: Sequence[str], links: Sequence[wire.SourceLink]) -> Iterator[None]:
    """Where their files lie is known while they are written, and as long as they go on."""
    sources = call.backend.sources
    ids = [id for id in ids if links and _is_callers(call, id)]
    for id in ids:
        sources.remember(id, links)
    try:
        yield
    except BaseException:
        for id in ids:
            if id not in call.backend.scheduler.board.active:
                sources.forget(id)
        raise


def _is_callers(call: Call, id: str) -> bool:
    """Or nobody's yet: what lies where for another's job, nobody else says."""
    with suppress(errors.NotFound):
        return call.backend.store.job(JobId(id)).owner == call.caller.owner
    return True


async def new_of(call: Call, request: wire.SubmitRequest) -> NewJob:
    """The job that a request asks for."""
    backend, owner = call.backend, call.caller.owner
    session = await session_of(call, request.spec)
    goes_on = await resumed(backend, request.resume, request.id, owner)
    if session is None:
        await backend.offers.known(request.need)
    new = new_job(request, owner, backend.machines, backend.settings, session, goes_on)
    if session is None:
        check_offered(call, new)
    await backend.shelf.look_for(new.segments)
    return new


def check_offered(call: Call, new: NewJob) -> None:
    """Raises UnknownMachine or LaunchRefused for a job that would wait for ever."""
    if new.offer is not None:
        pools = {a.pool for a in call.backend.scheduler.board.agents.values()}
        call.backend.offers.check(new.offer, pools)


async def write(call: Call, new: NewJob, spec: wire.JobSpec) -> wire.Submitted:
    """Hold its money and let it run; the reply to whoever submits it."""
    backend = call.backend
    if not await cache.answers(backend, new.owner, new.cache):
        new = await backend.estimates.added(new, await most_held(backend, new))
        await backend.scheduler.expect(new, spec)
    [written] = await backend.commit(backend.store.submit, [new], backend.clock.now())
    told = [*([written.event] if written.event else []), *written.more]
    cursor = told[-1].cursor if told else 0
    shown = view(call, written.job, cursor)
    if new.results_id:
        [shown] = await views(call, [written.job], cursor)
    return wire.Submitted(shown, written.missing)


async def session_of(call: Call, spec: wire.JobSpec) -> JobRecord | None:
    """The session that a cell is to run in. Raises NotFound, Conflict when it is over."""
    if spec.kind == "session" or not spec.session:
        return None
    backend, id = call.backend, check_job_id(spec.session)
    try:
        job: JobRecord = await backend.look(backend.store.job, id, call.caller.owner)
    except errors.NotFound:
        raise errors.NotFound(
            "There is no such session.", hint="`%remote sessions` lists yours."
        ) from None
    if job.kind != "session" or job.state in TERMINAL:
        raise errors.Conflict(
            f"The session {job.session!r} is over: {job.status.value}.",
            hint="`-s NAME --revive` starts a new one of that name; its variables are lost.",
        )
    return job


async def submit_batch(call: Call) -> wire.BatchSubmitted:
    backend = call.backend
    owner, settings = call.caller.owner, backend.settings
    requests = requests_of(call.body)
    goes_on = await resumed(backend, requests[0].resume, requests[0].id, owner)
    await backend.offers.known(requests[0].need)
    machines = backend.machines
    new = [new_job(r, owner, machines, settings, resumed=goes_on) for r in requests]
    check_offered(call, new[0])
    # they differ in their inputs only
    estimated = (await backend.estimates.added(new[0], await most_held(backend, new[0]))).estimate
    new = [msgspec.structs.replace(one, estimate=estimated) for one in new]
    named = {s.digest: s for one in new for s in one.segments}
    await backend.shelf.look_for(list(named.values()))
    with _sources(call, [one.id for one in new], call.body.template.links):
        written = await backend.commit(backend.store.submit, new, backend.clock.now())
    missing = {m.digest: m for w in written for m in w.missing}
    return wire.BatchSubmitted([w.job.id for w in written], list(missing.values()))


async def list_jobs(call: Call) -> wire.JobList:
    query: JobsQuery = call.query
    backend, owner = call.backend, call.caller.owner
    if query.prefix is not None:
        found = await backend.read(backend.store.find, query.prefix, owner, query.limit)
        return wire.JobList(await views(call, found))
    jobs = await backend.read(
        backend.store.jobs,
        owner,
        states=STATES[query.status] if query.status else None,
        client=query.client,
        batch=query.batch,
        notebook=query.notebook,
        ids=None if query.ids is None else [JobId(id) for id in query.ids.split(",")],
        limit=query.limit,
        before=query.before,
    )
    shown = [j for j in jobs if not query.status or j.status.value == query.status]
    following = jobs[-1].id if len(jobs) == query.limit else ""
    return wire.JobList(await views(call, shown), following)


async def show(call: Call) -> wire.JobView:
    cursor = await call.backend.look(call.backend.store.last_cursor)
    [shown] = await views(call, [await own_job(call)], cursor)
    return shown


async def history(call: Call) -> wire.HistoryReply:
    job = await own_job(call)
    return wire.HistoryReply(await call.backend.read(call.backend.store.history, job.id))


async def cancel(call: Call) -> wire.JobView:
    backend = call.backend
    job = await own_job(call)
    asked: wire.CancelRequest = call.body
    now = backend.clock.now()
    changed = await backend.commit(
        backend.store.cancel,
        job.id,
        call.caller.owner,
        now,
        asked.force,
        saves=asked.checkpoint,
        kill_at=_kill_at(job, asked, now, backend.settings),
    )
    return view(call, changed.job)


def _kill_at(
    job: JobRecord, asked: wire.CancelRequest, now: float, settings: Settings
) -> float | None:
    """When it is killed if it goes on. A cell takes its session along, so that it is only killed
    where that was asked for. A checkpoint has its own time first."""
    after_s = asked.force_after_s
    if after_s is None and job.cancel_requested:
        return job.kill_at
    if after_s is None:
        after_s = 0.0 if job.session and job.kind != "session" else settings.force_after_s
    if not after_s:
        return None
    return now + after_s + (settings.checkpoint_s if asked.checkpoint or job.cancel_saves else 0.0)


async def result(call: Call) -> wire.Done:
    job = await own_job(call)
    if job.state not in TERMINAL:
        raise errors.Conflict(
            f"The job is {job.status.value}: it has no result yet.",
            hint="Listen to its events; `done` is the last one.",
        )
    [shown] = await views(call, [job])
    return wire.Done(
        job=shown,
        result=_result.decode(job.result) if job.result else None,
        error=_error.decode(job.error) if job.error else None,
        receipt=_receipt.decode(job.receipt) if job.receipt else None,
    )


async def receipt(call: Call) -> wire.Receipt:
    job = await own_job(call)
    if job.receipt is None:
        ended = job.state in TERMINAL
        raise errors.Conflict(
            f"The job is {job.status.value}: it has no receipt" + ("." if ended else " yet."),
            hint="Receipts of jobs that ended with an older version were not kept."
            if ended
            else "It is made when the job ends.",
        )
    return _receipt.decode(job.receipt)


async def inputs(call: Call) -> wire.InputsReply:
    job = await own_job(call)
    return wire.InputsReply(_spec.decode(job.spec).inputs)


async def log(call: Call) -> ASGIApp:
    return await log_reply(call.backend, await own_job(call), call.query.last_bytes)


READ, SUBMIT = allow("read", "submit"), allow("submit")
LOOK = allow("read", "submit", "page")

ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/v1/jobs",
        handler=submit,
        summary="Submit a job; sent again with the same id and body it is the same job",
        policy=SUBMIT,
        body=wire.SubmitRequest,
        reply=wire.Submitted,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs",
        handler=list_jobs,
        summary="Your jobs, newest first",
        policy=LOOK,
        query=JobsQuery,
        reply=wire.JobList,
    ),
    Endpoint(
        method="POST",
        path="/v1/batches",
        handler=submit_batch,
        summary="Submit many calls of one function at once",
        policy=SUBMIT,
        body=wire.BatchRequest,
        reply=wire.BatchSubmitted,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}",
        handler=show,
        summary="One job",
        policy=LOOK,
        reply=wire.JobView,
    ),
    Endpoint(
        method="POST",
        path="/v1/jobs/{id}/cancel",
        handler=cancel,
        summary="Cancel a job: free before it started, else charged for what ran",
        policy=allow("submit", "cancel"),
        body=wire.CancelRequest,
        reply=wire.JobView,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/history",
        handler=history,
        summary="What happened to a job, in plain words",
        policy=LOOK,
        reply=wire.HistoryReply,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/result",
        handler=result,
        summary="How a job ended; 409 while it has not",
        policy=READ,
        reply=wire.Done,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/receipt",
        handler=receipt,
        summary="What a job of yours used and cost; 409 while it has not ended",
        policy=LOOK,
        reply=wire.Receipt,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/inputs",
        handler=inputs,
        summary="What a job of yours was sent",
        policy=READ,
        reply=wire.InputsReply,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/log",
        handler=log,
        summary="All that a job printed",
        policy=LOOK,
        query=LogQuery,
        reply_type="text/plain",
    ),
]
