"""The whole output of a job as text."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_remote.model import JobRecord
from jupyter_remote.server.backend import Backend
from jupyter_remote.server.problems import JSON_HEADERS, text_reply
from jupyter_remote.wire import Segment

PAGE = 500
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


async def log_reply(backend: Backend, job: JobRecord) -> ASGIApp:
    """The log that its worker kept when output was folded; else what was shown live."""
    if job.log is None:
        return TextStream(_printed(backend, job))
    segment = msgspec.json.decode(job.log, type=Segment)
    if segment.data is not None:
        return text_reply(segment.data)
    _, content = await backend.blobs.open(segment.digest)
    return TextStream(content)


async def _printed(backend: Backend, job: JobRecord) -> AsyncIterator[bytes]:
    after = 0
    while True:
        page = await backend.read(backend.store.events, after=after, job=job.id, limit=PAGE)
        if not page:
            return
        after = page[-1].cursor
        texts = [_text.decode(e.data).text for e in page if e.type == "stream"]
        yield "".join(texts).encode(errors="replace")
