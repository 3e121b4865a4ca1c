"""Routes of blobs: bytes named by their digest. They are stored and handed out, never opened."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_remote import errors, wire
from jupyter_remote.model import OwnerId
from jupyter_remote.server.auth import allow
from jupyter_remote.server.problems import JSON_HEADERS, Reply
from jupyter_remote.server.routing import BYTES_TYPES, Call, Endpoint
from jupyter_remote.server.submitting import check_chunks, check_digest

_BARE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
BYTES_HEADERS = ((b"content-type", BYTES_TYPES[0].encode()), JSON_HEADERS[2])


class Download:
    """A blob on its way out."""

    def __init__(self, size_bytes: int, content: AsyncIterator[bytes]) -> None:
        self._size_bytes = size_bytes
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*BYTES_HEADERS, (b"content-length", str(self._size_bytes).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for part in self._content:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def absent() -> errors.NotFound:
    return errors.NotFound("There is no such blob.")


async def owners_of(call: Call) -> list[OwnerId]:
    """Whose blobs the caller may read: its own; a worker also those of whom it works for.

    The store knows which worker has which token, also while its connection is down.
    """
    backend, owners = call.backend, {call.caller.owner}
    if "worker" in call.caller.scopes:
        working = {(a.worker, a.owner) for a in backend.scheduler.board.active.values() if a.epoch}
        for worker, owner in working:
            if owner not in owners:
                token = await backend.look(backend.store.token_of_worker, worker)
                owners |= {owner} if token == call.caller.token_id else set()
    return sorted(owners)


async def require_readable(call: Call, digest: str) -> None:
    backend = call.backend
    for owner in await owners_of(call):
        if await backend.look(backend.store.may_read_blob, digest, owner):
            return
    raise absent()


async def present(call: Call, digest: str, size_bytes: int) -> wire.BlobView:
    """The bytes are there: jobs that wait for them may become ready."""
    backend, now = call.backend, call.backend.clock.now()
    owners = await owners_of(call)
    await backend.commit(backend.store.blob_present, digest, size_bytes, now, owners)
    return wire.BlobView(digest, size_bytes)


def trusted(call: Call) -> bool:
    """Is the caller the user whose embedded backend this is, and who alone uses it?

    Whoever writes into the spool folder could read the whole store there, so that a file of
    theirs is taken over without its digest being checked: that proves nothing to anybody else.
    The same holds for what they send to S3 by themselves.
    """
    facts = call.backend.facts
    return facts.embedded and call.caller.owner == facts.owner


async def put(call: Call) -> wire.BlobView:
    digest = check_digest(call.path["digest"])
    spooled = call.header(b"x-spool")
    if spooled and not (trusted(call) and _BARE_NAME.fullmatch(spooled)):
        raise errors.InvalidRequest("X-Spool is the bare name of a file in the spool folder.")
    async with call.backend.shelf.arriving(digest):
        if spooled:
            size_bytes = await call.backend.blobs.adopt(digest, spooled)
        else:
            limit = call.backend.settings.max_blob_bytes
            size_bytes = await call.backend.blobs.put(digest, call.stream(), limit)
        return await present(call, digest, size_bytes)


async def assemble(call: Call) -> wire.BlobView:
    backend = call.backend
    digest = check_digest(call.path["digest"])
    chunks: Sequence[tuple[str, int]] = call.body.chunks
    check_chunks(chunks, call.body.size_bytes)
    places: dict[str, tuple[str, int, int]] = {}
    for owner in await owners_of(call):
        names = [chunk for chunk, _ in chunks]
        places |= await backend.read(backend.store.chunk_places, names, owner)
    for chunk, size_bytes in chunks:
        if chunk not in places or places[chunk][2] != size_bytes:
            raise errors.NotFound(
                f"There is no chunk {chunk[:12]}… of {size_bytes} bytes.",
                hint="Upload the chunks that are missing, then put the segment together again.",
            )
    async with backend.shelf.arriving(digest):
        size = await backend.blobs.assemble(digest, [places[chunk] for chunk, _ in chunks])
        view = await present(call, digest, size)
    await backend.commit(backend.store.add_chunks, digest, chunks)
    return view


async def get(call: Call) -> ASGIApp:
    digest = check_digest(call.path["digest"])
    await require_readable(call, digest)
    return Download(*await call.backend.blobs.open(digest))


async def head(call: Call) -> ASGIApp:
    digest = check_digest(call.path["digest"])
    await require_readable(call, digest)
    size_bytes = await call.backend.blobs.size(digest)
    if size_bytes is None:
        raise absent()
    return _Head(size_bytes)


class _Head(Reply):
    """No body, but the length that it would have."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(b"", 200, BYTES_HEADERS)
        self.size_bytes = size_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.headers, (b"content-length", str(self.size_bytes).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


READ, WRITE = allow("read", "submit", "worker"), allow("submit", "worker")
PATH = "/v1/blobs/{digest}"

ENDPOINTS = [
    Endpoint(
        method="PUT",
        path=PATH,
        handler=put,
        summary="Upload a segment or a chunk, or hand over a spooled file (X-Spool)",
        policy=WRITE,
        takes_bytes=True,
        reply=wire.BlobView,
    ),
    Endpoint(
        method="POST",
        path=PATH,
        handler=assemble,
        summary="Put a segment together from chunks that are there",
        policy=WRITE,
        body=wire.Assemble,
        reply=wire.BlobView,
    ),
    Endpoint(
        method="GET",
        path=PATH,
        handler=get,
        summary="The bytes",
        policy=READ,
        reply_type=BYTES_TYPES[0],
    ),
    Endpoint(
        method="HEAD",
        path=PATH,
        handler=head,
        summary="Is it there, and how large",
        policy=READ,
        reply_type=BYTES_TYPES[0],
    ),
]
