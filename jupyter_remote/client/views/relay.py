"""Connections to sessions that run where this process cannot call them: through the backend.

One thread passes the bytes of all of them on, between a WebSocket and a socket of this process
each, so that a relayed connection is to its user like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any
from urllib.parse import urlsplit

from jupyter_remote import errors
from jupyter_remote.client.link import Address, Link
from jupyter_remote.http import HERE
from jupyter_remote.loopback import proven
from jupyter_remote.multiplex import PIECE_BYTES
from jupyter_remote.wire import HUNG_UP

OPEN_S = 10.0
CLOSE_S = 1.0
KEEPALIVE_S = 15  # of silence, then the system asks whether the other side is there
KEEPALIVE = {"TCP_KEEPIDLE": KEEPALIVE_S, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Line:
    """One connection. ``sock`` is this process's end of it."""

    def __init__(self) -> None:
        self.sock, self.inner = socket.socketpair()
        self.inner.setblocking(False)
        self.code = 0  # with which the backend closed it
        self.why = ""

    @property
    def hung_up(self) -> bool:
        """Did the session's end of it close? Else something between did."""
        return self.code == HUNG_UP


class Relay:
    """Of one client. The thread starts with the first connection."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Event | None = None
        self._closed = False

    def dial(self, session: str) -> Line:
        """A connection to the kernel of this session: what is sent first comes there first.

        Raises OSError when there is none just now, BackendUnreachable, NotAuthorized.
        """
        loop, address = self._started(), self._link.address
        sock = _proven(address)
        opening = self._open(session, address, sock)
        future = asyncio.run_coroutine_threadsafe(opening, loop)
        try:
            return future.result()
        except CancelledError:
            raise _is_closed() from None

    def close(self) -> None:
        """End the thread and all connections."""
        with self._lock:
            self._closed = True
            loop, closing, thread = self._loop, self._closing, self._thread
        if loop is not None and closing is not None and thread is not None:
            with contextlib.suppress(RuntimeError):  # it ended already
                loop.call_soon_threadsafe(closing.set)
            thread.join(3 * CLOSE_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise _is_closed()
            if self._loop is None:
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=asyncio.run,
                    args=(self._run(ready),),
                    name="jupyter-remote-relay",
                    daemon=True,
                )
                self._thread.start()
                ready.wait()
            assert self._loop is not None
            return self._loop

    # -- in the thread
    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await self._closing.wait()
        if self._running:  # their users hung up: what they sent before is on its way
            await asyncio.wait(self._running, timeout=CLOSE_S)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _open(self, session: str, address: Address, sock: socket.socket | None) -> Line:
        from websockets.asyncio.client import connect

        url = f"{address.url.replace('http', 'ws', 1).rstrip('/')}/v1/sessions/{session}/connect"
        given: dict[str, Any] = {} if sock is None else {"sock": sock}
        with _understood(address.url):
            websocket = await connect(
                url,
                **given,
                additional_headers={"Authorization": f"Bearer {address.token}"},
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                ping_interval=None,  # it is not read of whoever sends more than there is room for
                proxy=True if self._link.settings.trust_env and not _is_here(address) else None,
            )
        _watch(websocket.transport.get_extra_info("socket"))
        line = Line()
        task = asyncio.create_task(_pass_on(websocket, line))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return line


async def _pass_on(websocket: Any, line: Line) -> None:
    """Both ways until one side is over."""
    tasks = [asyncio.create_task(work(websocket, line.inner)) for work in (_there, _back)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await websocket.close()
        finally:
            line.code, line.why = websocket.close_code or 0, websocket.close_reason or ""
            line.inner.close()


async def _there(websocket: Any, inner: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(inner, PIECE_BYTES):
        await websocket.send(data)


async def _back(websocket: Any, inner: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    async for data in websocket:
        await loop.sock_sendall(inner, data)


def _is_closed() -> errors.BackendUnreachable:
    return errors.BackendUnreachable("this client is closed", hint="make another one: jr.Client()")


def _is_here(address: Address) -> bool:
    return urlsplit(address.url).hostname in HERE


def _proven(address: Address) -> socket.socket | None:
    """The socket to dial over, where the backend has proved on it who it is. Raises OSError."""
    if not address.key:
        return None
    parts = urlsplit(address.url)
    sock = proven(parts.hostname or "", parts.port or 80, address.key).sock
    sock.setblocking(False)
    return sock


def _watch(sock: socket.socket) -> None:
    """A backend whose machine is gone ends the connection, and not only when it is written to."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextlib.contextmanager
def _understood(url: str) -> Iterator[None]:
    """Errors of opening a WebSocket are ours, or OSError."""
    from websockets.exceptions import InvalidStatus, WebSocketException

    try:
        yield
    except InvalidStatus as error:
        status = error.response.status_code
        if status in (401, 403):
            raise errors.NotAuthorized(
                "This token does not allow calls of sessions.",
                hint="Use a token with the scope submit.",
            ) from None
        raise errors.BackendUnreachable(
            f"what answers at {url} opens no WebSocket (HTTP {status})",
            hint="a proxy in front of the backend has to pass WebSockets on",
        ) from None
    except WebSocketException as error:
        raise ConnectionError(str(error) or type(error).__name__) from None
