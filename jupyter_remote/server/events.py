"""Event streams: SSE with a cursor, or one page of JSON."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_remote import errors, wire
from jupyter_remote.server.auth import allow
from jupyter_remote.server.hub import Reader, Topic
from jupyter_remote.server.jobs import own_job
from jupyter_remote.server.problems import JSON_HEADERS, json_reply
from jupyter_remote.server.routing import Call, Endpoint
from jupyter_remote.server.submitting import check_label

SSE = "text/event-stream"
LATEST_CURSOR = 2**53

Cursor = Annotated[int, msgspec.Meta(ge=0, le=LATEST_CURSOR)]


class JobEventsQuery(msgspec.Struct, frozen=True):
    """From where."""

    after: Cursor | None = None  # events with a greater cursor; default: Last-Event-ID, or 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000  # of a page of JSON


class EventsQuery(JobEventsQuery, frozen=True):
    """Whose, and from where."""

    client: str = ""


class Stream:
    """An SSE response, written to the socket as frames come; ends when the client goes away, and
    when ``until`` returns."""

    def __init__(
        self, frames: AsyncIterator[bytes], until: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._frames = frames
        self._until = until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = (b"content-type", SSE.encode())
        headers = [kind, *JSON_HEADERS[1:], (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # Sent at once, so that the client knows that it is connected.
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_disconnected(receive))
        ending = asyncio.create_task(self._until())
        tasks = (writing, leaving, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone = leaving.done()
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
        if not gone:
            await send({"type": "http.response.body", "body": b""})

    async def _write(self, send: Send) -> None:
        async with contextlib.aclosing(self._frames) as frames:  # type: ignore[type-var]
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def client_events(call: Call) -> Any:
    client = check_label("client", call.query.client)
    if not client:
        raise errors.InvalidRequest("Say whose events: `?client=ID`.")
    owner = call.caller.owner
    return await _reply(call, Topic(owner, client), {"owner": owner, "client": client})


async def job_events(call: Call) -> Any:
    job = await own_job(call)
    return await _reply(call, Topic(job=job.id), {"job": job.id})


async def _reply(call: Call, topic: Topic, which: dict[str, str]) -> ASGIApp:
    after = _after(call)
    reader = _reader(call, which)
    if SSE not in call.header(b"accept") and "application/json" in call.header(b"accept"):
        events = await reader(after, call.query.limit)
        return json_reply(wire.EventPage(events, events[-1].cursor if events else after))
    backend = call.backend
    frames = backend.hub.stream(topic, after, reader)
    return Stream(frames, lambda: backend.tokens.ended(call.caller))


def _reader(call: Call, which: dict[str, str]) -> Reader:
    backend = call.backend

    async def read(after: int, limit: int) -> list[wire.Event]:
        events: list[wire.Event] = await backend.read(
            backend.store.events, after=after, limit=limit, **which
        )
        return events

    return read


def _after(call: Call) -> int:
    """Where to go on: the query, else the header that a browser sends when it reconnects."""
    if call.query.after is not None:
        return int(call.query.after)
    last = call.header(b"last-event-id")
    known = last.isascii() and last.isdigit() and len(last) <= len(str(LATEST_CURSOR))
    return min(int(last), LATEST_CURSOR) if known else 0


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/v1/events",
        handler=client_events,
        summary="Events of all jobs that a client submitted: SSE, or a page of JSON",
        policy=allow("read", "submit"),
        query=EventsQuery,
        reply=wire.EventPage,
        reply_type=SSE,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{id}/events",
        handler=job_events,
        summary="Events of a job: SSE, or a page of JSON",
        policy=allow("read", "submit"),
        query=JobEventsQuery,
        reply=wire.EventPage,
        reply_type=SSE,
    ),
]
