"""The whole output of a job as text."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_remote.amounts import size
from jupyter_remote.model import JobRecord
from jupyter_remote.server.backend import Backend
from jupyter_remote.server.problems import JSON_HEADERS, text_reply
from jupyter_remote.wire import Segment

PAGE = 500
LAST_BYTES = 16 << 20  # of an end that is asked for, at most
LINE_BYTES = 4096  # an end begins with a line, if there is one
TEXT_HEADERS = ((b"content-type", b"text/plain; charset=utf-8"), *JSON_HEADERS[1:])


class _Text(msgspec.Struct):
    """Data of a ``stream`` event."""

    text: str = ""


_text = msgspec.json.Decoder(_Text)


class TextStream:
    """Plain text, streamed."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = list(TEXT_HEADERS)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for part in self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def log_reply(backend: Backend, job: JobRecord, last_bytes: int | None = None) -> ASGIApp:
    """The log that its worker kept when output was folded; else what was shown live."""
    log = await _log(backend, job)
    return TextStream(log) if last_bytes is None else text_reply(await _end_of(log, last_bytes))


async def _log(backend: Backend, job: JobRecord) -> AsyncIterator[bytes]:
    if job.log is None:
        return _printed(backend, job)
    segment = msgspec.json.decode(job.log, type=Segment)
    if segment.data is not None:
        return _one(segment.data)
    _, content = await backend.blobs.open(segment.digest)
    return content


async def _one(text: bytes) -> AsyncIterator[bytes]:
    yield text


async def _end_of(log: AsyncIterator[bytes], most: int) -> bytes:
    """Its last lines, and how much was before them."""
    end, whole = bytearray(), 0
    async for part in log:
        end += part
        whole += len(part)
        if len(end) > 2 * most:
            del end[:-most]
    if whole <= most:
        return bytes(end)
    del end[:-most]
    del end[: end.find(b"\n", 0, LINE_BYTES) + 1]
    return f"[{size(whole - len(end))} before this: %remote logs has all]\n".encode() + bytes(end)


async def _printed(backend: Backend, job: JobRecord) -> AsyncIterator[bytes]:
    after = 0
    while True:
        page = await backend.read(backend.store.events, after=after, job=job.id, limit=PAGE)
        if not page:
            return
        after = page[-1].cursor
        texts = [_text.decode(e.data).text for e in page if e.type == "stream"]
        yield "".join(texts).encode(errors="replace")
