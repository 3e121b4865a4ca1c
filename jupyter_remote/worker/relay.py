"""Clients that cannot reach the kernels of sessions here: the server passes their bytes on, and
the agent does, to the kernel's own socket. It looks at none: a client greets with the key that the
server gave it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Protocol

from jupyter_remote import calls
from jupyter_remote.multiplex import PIECE_BYTES, Channel, Channels
from jupyter_remote.wire import Open
from jupyter_remote.worker.link import Link
from jupyter_remote.worker.users import User

CONNECT_S = 10.0


class Session(Protocol):
    """What is to be known of a session."""

    key: tuple[str, int]

    @property
    def address(self) -> str: ...


class Relay:
    """Of one agent: the channels of its link, each with a connection to a kernel."""

    def __init__(self, link: Link, user: User | None = None) -> None:
        """``user``: who runs the kernels, if not who runs the agent."""
        self._users = [user.uid] if user is not None else []
        self.channels = Channels(link.post_behind)
        self._running: dict[asyncio.Task[None], tuple[str, int]] = {}

    def open(self, message: Open, session: Session | None) -> None:
        """Connect a new channel to a session. Told of what is there when it cannot be."""
        key = (message.job, message.epoch)
        channel = self.channels.new(message.channel)
        address = session.address if session is not None and session.key == key else ""
        task = asyncio.create_task(self._serve(channel, address))
        self._running[task] = key
        task.add_done_callback(self._running.pop)

    def end(self, key: tuple[str, int]) -> None:
        """This attempt is over: so are the channels to its kernel."""
        for task in [task for task, of in self._running.items() if of == key]:
            task.cancel()

    async def _serve(self, channel: Channel, address: str) -> None:
        why = "the session is over"
        try:
            if address:
                sock = await _connected(address, self._users)
                why = await _pass_on(channel, sock)
        except OSError as error:
            why = f"the session does not answer: {error.strerror or error}"
        finally:
            await self.channels.close(channel, why)


async def _connected(address: str, users: list[int]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(CONNECT_S):
            await asyncio.get_running_loop().sock_connect(sock, calls.where(address))
        if not calls.is_of_this_user(sock, *users):  # the kernel is gone, and another took its name
            raise ConnectionRefusedError("somebody else listens there")
    except BaseException:
        sock.close()
        raise
    return sock


async def _pass_on(channel: Channel, sock: socket.socket) -> str:
    """Both ways until one side is over; why the kernel's is."""
    there, back = (asyncio.create_task(work(channel, sock)) for work in (_there, _back))
    try:
        await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        sock.close()
    return "the session hung up"


async def _there(channel: Channel, sock: socket.socket) -> None:
    """From the client to the kernel, to the last byte."""
    loop = asyncio.get_running_loop()
    while data := await channel.receive():
        with contextlib.suppress(OSError):  # the other direction hears of the end, with all before
            await loop.sock_sendall(sock, data)
        await channel.took(len(data))


async def _back(channel: Channel, sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # BrokenPipeError: nobody is there to have it
        while data := await loop.sock_recv(sock, PIECE_BYTES):
            await channel.send(data)
