"""Calls of clients that cannot reach the kernel of a session themselves: their bytes are passed on
to its worker. Nothing of them is looked at here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from jupyter_remote import errors
from jupyter_remote.model import TERMINAL, JobId
from jupyter_remote.multiplex import PIECE_BYTES, Channel
from jupyter_remote.server.auth import Caller
from jupyter_remote.wire import ABSENT, AWAY, HUNG_UP, Open

if TYPE_CHECKING:
    from jupyter_remote.server.backend import Backend
    from jupyter_remote.server.workers import Link

MOST_CHANNELS = 1000  # of one worker
CLOSE_S = 1.0
REASON_BYTES = 123  # of a close frame, at most
DONE, REFUSED, NOT_BYTES = 1000, 1008, 1003


class NoWay(Exception):
    """Why a client is not connected: the code and the reason of a close frame."""


async def connect(backend: Backend, caller: Caller, websocket: WebSocket) -> None:
    """Serve one client until an end of its connection closes. The route
    `/v1/sessions/{id}/connect`."""
    await websocket.accept()
    try:
        link, opening = await _way(backend, caller, JobId(websocket.path_params["id"]))
    except NoWay as refusal:
        await _close(websocket, *refusal.args)
        return
    channel = link.channels.new()
    try:
        await link.send(Open(channel.number, *opening))
        await _close(websocket, *await _pass_on(backend, caller, websocket, channel))
    finally:
        await link.channels.close(channel)


async def _way(backend: Backend, caller: Caller, id: JobId) -> tuple[Link, tuple[str, int]]:
    """The worker's link, and which attempt of it. Raises NoWay."""
    try:
        job = await backend.look(backend.store.job, id, caller.owner)
    except errors.NotFound:
        job = None
    if job is None or job.kind != "session":  # somebody else's looks absent
        raise NoWay(ABSENT, "there is no such session")
    if job.state in TERMINAL:
        raise NoWay(HUNG_UP, "the session is over")
    found = backend.switchboard.find(id)
    link = None if found is None else backend.fleet.links.get(found.worker)
    if found is None or link is None or found.epoch != job.epoch:
        raise NoWay(AWAY, "its worker is not connected just now")
    if len(link.channels) >= MOST_CHANNELS:
        raise NoWay(AWAY, f"its worker has {MOST_CHANNELS} connections already")
    return link, (id, found.epoch)


async def _pass_on(
    backend: Backend, caller: Caller, websocket: WebSocket, channel: Channel
) -> tuple[int, str]:
    """Both ways, until one side is over; how to close the client's."""
    there = asyncio.create_task(_there(websocket, channel))
    back = asyncio.create_task(_back(websocket, channel))
    ended = asyncio.create_task(backend.tokens.ended(caller))
    tasks = (there, back, ended)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = [task.done() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if done[2]:
        return REFUSED, "the token was revoked or has expired"
    if done[1]:
        return AWAY if channel.lost else HUNG_UP, channel.why
    return there.result()


async def _there(websocket: WebSocket, channel: Channel) -> tuple[int, str]:
    """From the client to the session. Nothing is read that there is no room for."""
    try:
        while True:
            data = await websocket.receive_bytes()
            for at in range(0, len(data), PIECE_BYTES):
                await channel.send(data[at : at + PIECE_BYTES])
    except KeyError:
        return NOT_BYTES, "this takes no text"
    except WebSocketDisconnect:
        return DONE, ""
    except BrokenPipeError:
        await asyncio.Event().wait()  # what came before its end is still on its way back
        raise


async def _back(websocket: WebSocket, channel: Channel) -> None:
    """From the session to the client."""
    while data := await channel.receive():
        try:
            await websocket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError):
            return
        await channel.took(len(data))


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """A client that is gone, or that does not read, is not waited for."""
    cut = reason.encode()[:REASON_BYTES].decode(errors="ignore")
    try:
        async with asyncio.timeout(CLOSE_S):
            await websocket.close(code, cut)
    except (WebSocketDisconnect, RuntimeError, OSError):  # TimeoutError is an OSError
        return
