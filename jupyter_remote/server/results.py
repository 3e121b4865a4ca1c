"""Routes of results to share: opened without a token by whoever knows their address.

What is read here was written by somebody else for anybody: values stay closed, texts are texts, and
of a job nothing is told but its result. Absent, revoked and not over yet look the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_remote import __version__, errors, wire
from jupyter_remote.model import JobRecord, Share
from jupyter_remote.money.meter import usd_of
from jupyter_remote.outputs import outputs_of
from jupyter_remote.server.auth import OPEN, allow
from jupyter_remote.server.backend import Backend
from jupyter_remote.server.jobs import own_job
from jupyter_remote.server.outputs import seen
from jupyter_remote.server.problems import JSON_HEADERS, Reply
from jupyter_remote.server.result_page import absent_page, page_of
from jupyter_remote.server.routing import HTML_TYPE, Call, Endpoint
from jupyter_remote.server.submitting import new_results_id
from jupyter_remote.store.views import money_of

MOST_BYTES = 16 * 1024 * 1024  # of output that is shown
MOST_EVENTS = 20_000
PAGE = 1000
NOTEBOOK_TYPE = "application/x-ipynb+json"

# What no page of ours may share with others, or tell them. Referrers would tell the address.
ALONE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"x-robots-tag", b"noindex"),
    *JSON_HEADERS[1:],
)
# No script, nothing from elsewhere, and no page around it.
PAGE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'; sandbox allow-downloads",
    ),
    (b"x-dns-prefetch-control", b"off"),
    *ALONE_HEADERS,
)

_result = msgspec.json.Decoder(wire.Result)
_error = msgspec.json.Decoder(wire.RemoteFailure)


class PublicQuery(msgspec.Struct, frozen=True):
    """Which, the newest first."""

    before: str = ""  # `next` of the page before
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


def _head(call: Call, job: JobRecord, id: str, visibility: str) -> dict[str, Any]:
    host = call.header(b"host")  # one of those that this server answers to
    url = f"{call.backend.facts.scheme}://{host}/results/{id}" if id else ""
    return {
        "jobs_uuid": job.id,
        "results_uuid": id,
        "results_url": url,
        "visibility": visibility,
        "status": job.status.value,
        "reason": job.reason.value,
        "detail": job.detail,
        "price": usd_of(money_of(job, call.backend.clock.now()).cost_ucredits),
        "simulated": job.simulated,
        "version": __version__,
        "kind": job.kind,
        "description": job.description,
        "machine": job.machine,
        "submitted_at": job.submitted_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def _view(call: Call, job: JobRecord, share: Share | None) -> wire.ResultsView:
    id, visibility = (share.id, share.visibility) if share else ("", "private")
    return wire.ResultsView(**_head(call, job, id, visibility))


# --- for anybody -----------------------------------------------------------------------------
async def _shared(call: Call) -> JobRecord:
    job: JobRecord = await call.backend.look(call.backend.store.shared, call.path["id"])
    return job


async def _results(call: Call) -> wire.Results:
    """Raises NotFound."""
    backend, job = call.backend, await _shared(call)
    found = await results_of(call, job, call.path["id"])
    shares = await backend.look(backend.store.shares, [job.id])
    if job.id not in shares:  # revoked just now
        raise errors.NotFound("There is no such result.")
    return msgspec.structs.replace(found, visibility=shares[job.id].visibility)


async def results_of(call: Call, job: JobRecord, id: str = "") -> wire.Results:
    """What a job showed and left, so far. ``id``: of its address for anybody, if it has one."""
    backend = call.backend
    async with backend.pages:
        outputs, cut = await asyncio.to_thread(_outputs, backend, job)
    result = _result.decode(job.result) if job.result else wire.Result()
    return wire.Results(
        **_head(call, job, id, "private"),
        text=result.text,
        names=_names(job, result),
        outputs=outputs,
        cut=cut,
        error=seen(_error.decode(job.error)) if job.error else None,
    )


def _names(job: JobRecord, result: wire.Result) -> list[wire.NameInfo]:
    """Variables that a cell brought home; what begins with an underscore is for the machinery."""
    names = result.value.names if result.value is not None and job.kind == "cell" else []
    return [n for n in names if not n.name.startswith("_") and n.type != "module"]


def _outputs(backend: Backend, job: JobRecord) -> tuple[list[dict[str, Any]], bool]:
    """What its last attempt showed, and whether there was more."""
    events: list[wire.Event] = []
    after = size = read = 0
    while found := backend.store.events(after=after, job=job.id, limit=PAGE):
        for event in found:
            size, read = size + len(bytes(event.data)), read + 1
            if size > MOST_BYTES or read > MOST_EVENTS:
                return outputs_of(events), True
            if event.epoch == job.epoch:
                events.append(event)
        after = found[-1].cursor
    return outputs_of(events), False


async def results(call: Call) -> wire.Results:
    return await _results(call)


async def page(call: Call) -> ASGIApp:
    try:
        return Reply(page_of(await _results(call)), 200, PAGE_HEADERS)
    except errors.NotFound:
        return Reply(absent_page(), 404, PAGE_HEADERS)


class Attachment:
    """A file that a browser saves and does not show."""

    def __init__(self, name: str, size_bytes: int, content: AsyncIterator[bytes]) -> None:
        self._headers = [
            (b"content-type", NOTEBOOK_TYPE.encode()),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"content-length", str(size_bytes).encode()),
            *JSON_HEADERS[1:],
        ]
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        async for part in self._content:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def executed_notebook(call: Call) -> ASGIApp:
    return await notebook_reply(call, await _shared(call))


async def notebook_reply(call: Call, job: JobRecord) -> ASGIApp:
    """Raises NotFound where the job is of another kind, or has not ended."""
    value = _result.decode(job.result).value if job.result else None
    if job.kind != "notebook" or value is None or value.format != "raw":
        raise errors.NotFound("There is no such result.")
    segment = value.segments[0]
    name = f"result-{job.id[:8]}.ipynb"
    if segment.data is not None:
        return Attachment(name, len(segment.data), _one(segment.data))
    return Attachment(name, *await call.backend.blobs.open(segment.digest))


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def public(call: Call) -> wire.ResultsList:
    query: PublicQuery = call.query
    found = await call.backend.read(call.backend.store.public, query.limit, query.before)
    following = found[-1][0].id if len(found) == query.limit else ""
    return wire.ResultsList([_view(call, job, share) for share, job in found], following)


# --- for the owner ---------------------------------------------------------------------------
async def share_of(call: Call) -> wire.ResultsView:
    job = await own_job(call)
    shares = await call.backend.look(call.backend.store.shares, [job.id])
    return _view(call, job, shares.get(job.id))


async def share(call: Call) -> wire.ResultsView:
    backend, job = call.backend, await own_job(call)
    made = await backend.commit(
        backend.store.share,
        job.id,
        call.caller.owner,
        call.body.visibility,
        new_results_id(),
        backend.clock.now(),
    )
    return _view(call, job, made)


async def revoke_share(call: Call) -> wire.ResultsView:
    backend, job = call.backend, await own_job(call)
    await backend.commit(backend.store.revoke_share, job.id, call.caller.owner, backend.clock.now())
    return _view(call, job, None)


READ, SUBMIT = allow("read", "submit"), allow("submit")
SHARE = "/v1/jobs/{id}/share"

ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/results/{id}",
        handler=page,
        summary="A shared result as a page, without scripts",
        policy=OPEN,
        reply_type=HTML_TYPE,
    ),
    Endpoint(
        method="GET",
        path="/results/{id}/notebook",
        handler=executed_notebook,
        summary="The executed notebook of a shared result, as a file",
        policy=OPEN,
        reply_type=NOTEBOOK_TYPE,
    ),
    Endpoint(
        method="GET",
        path="/v1/results",
        handler=public,
        summary="Public results, the newest first",
        policy=OPEN,
        query=PublicQuery,
        reply=wire.ResultsList,
    ),
    Endpoint(
        method="GET",
        path="/v1/results/{id}",
        handler=results,
        summary="A shared result, with what it displayed",
        policy=OPEN,
        reply=wire.Results,
    ),
    Endpoint(
        method="GET",
        path=SHARE,
        handler=share_of,
        summary="Where the result of a job of yours opens",
        policy=READ,
        reply=wire.ResultsView,
    ),
    Endpoint(
        method="POST",
        path=SHARE,
        handler=share,
        summary="Let the result of a job be opened without a token",
        policy=SUBMIT,
        body=wire.ShareRequest,
        reply=wire.ResultsView,
    ),
    Endpoint(
        method="DELETE",
        path=SHARE,
        handler=revoke_share,
        summary="Let it not be opened any more; its address is never good again",
        policy=SUBMIT,
        reply=wire.ResultsView,
    ),
]
