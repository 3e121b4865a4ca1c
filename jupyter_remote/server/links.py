"""Routes of blobs that do not pass this server: it gives addresses, and looks at what came."""

from __future__ import annotations

from jupyter_remote import errors, wire
from jupyter_remote.blobs.base import Links
from jupyter_remote.server.auth import allow
from jupyter_remote.server.blobs import PATH, absent, present, require_readable, trusted
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.server.submitting import check_chunks, check_digest


async def link(call: Call) -> wire.BlobLink:
    digest, blobs = check_digest(call.path["digest"]), call.backend.blobs
    await require_readable(call, digest)
    size_bytes = await blobs.size(digest)
    if size_bytes is None:
        raise absent()
    if blobs.links is None or size_bytes < blobs.links.least_bytes:
        return wire.BlobLink(digest, size_bytes)
    return wire.BlobLink(digest, size_bytes, await blobs.links.download(digest))


async def upload(call: Call) -> wire.UploadLinks:
    digest, asked, links = check_digest(call.path["digest"]), call.body, call.backend.blobs.links
    _check_size(call, asked.size_bytes)
    if links is None or asked.size_bytes < links.least_bytes:
        return wire.UploadLinks()
    owner, known = call.caller.owner, trusted(call)
    id, part_bytes = asked.upload, 0
    if not id:
        id, part_bytes = await links.begin(digest, asked.size_bytes, owner, trusted=known)
    urls = await links.parts(digest, id, asked.numbers, owner, trusted=known)
    return wire.UploadLinks(upload=id, part_bytes=part_bytes, urls=urls)


async def complete(call: Call) -> wire.BlobView:
    digest, done = check_digest(call.path["digest"]), call.body
    _check_size(call, done.size_bytes)
    if done.chunks:
        check_chunks(done.chunks, done.size_bytes)
    links = call.backend.blobs.links
    if links is None:
        raise errors.NotFound("There is no such upload.")
    async with call.backend.shelf.arriving(digest):
        size_bytes = await _ended(call, links, digest, done)
        view = await present(call, digest, size_bytes)
    if done.chunks and trusted(call):  # of others it is not known whether these are its chunks
        await call.backend.commit(call.backend.store.add_chunks, digest, done.chunks)
    return view


async def _ended(call: Call, links: Links, digest: str, done: wire.UploadDone) -> int:
    try:
        return await links.end(
            digest, done.upload, done.size_bytes, call.caller.owner, trusted=trusted(call)
        )
    except errors.NotFound:  # the reply to the first time may have been lost
        if not trusted(call):
            await require_readable(call, digest)
        if await call.backend.blobs.size(digest) != done.size_bytes:
            raise
        return done.size_bytes


def _check_size(call: Call, size_bytes: int) -> None:
    limit = call.backend.settings.max_blob_bytes
    if size_bytes > limit:
        raise errors.TooLarge(f"The blob is larger than {limit} bytes.")


READ, WRITE = allow("read", "submit", "worker"), allow("submit", "worker")

ENDPOINTS = [
    Endpoint(
        method="GET",
        path=f"{PATH}/link",
        handler=link,
        summary="Where a large blob can be read, if the store has such addresses",
        policy=READ,
        reply=wire.BlobLink,
    ),
    Endpoint(
        method="POST",
        path=f"{PATH}/upload",
        handler=upload,
        summary="Where parts of a large blob can be put, if the store has such addresses",
        policy=WRITE,
        body=wire.UploadRequest,
        reply=wire.UploadLinks,
    ),
    Endpoint(
        method="POST",
        path=f"{PATH}/complete",
        handler=complete,
        summary="All parts of a blob are there",
        policy=WRITE,
        body=wire.UploadDone,
        reply=wire.BlobView,
    ),
]
