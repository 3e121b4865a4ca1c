"""The agent's WebSocket to its server: requests with their answers, and dialling again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from jupyter_remote.clock import Clock
from jupyter_remote.errors import JupyterRemoteError, ProtocolMismatch
from jupyter_remote.loopback import proven
from jupyter_remote.wire import (
    PROTOCOL,
    Answer,
    ChannelMessage,
    Hello,
    Listening,
    ServerMessage,
    Welcome,
    WorkerMessage,
)

PATH = "/v1/workers/connect"
FRAME_BYTES = 256 * 1024 * 1024
OPEN_S = 10.0
FIRST_PAUSE_S = 0.05
AGAIN_S = 0.5  # after an answer that says to try again
AGAIN_CODES = frozenset({"", "error", "storage_full", "backend_unreachable"})

OnAnswer = Callable[[Answer | None], None]
Make = Callable[[int], WorkerMessage]

log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ServerMessage).decode


class Address(NamedTuple):
    """Where the server is."""

    url: str  # http(s)://…
    key: str = ""  # an embedded one proves to know it before it hears the token


class Peer(Protocol):
    """What a link asks of the agent that owns it."""

    def address(self) -> Address:
        """Asked at each try. Raises OSError when unknown."""
        ...

    def hello(self) -> Hello: ...

    def welcomed(self, welcome: Welcome) -> None: ...

    def heard(self, message: ServerMessage) -> None: ...

    def lost(self) -> None: ...


class Link:
    """One socket at a time. Nothing is lost with it: who asked is told, and asks again."""

    def __init__(self, peer: Peer, token: str, clock: Clock, longest_pause_s: float = 5.0) -> None:
        self._peer = peer
        self._headers = {"Authorization": f"Bearer {token}"}
        self._clock = clock
        self._longest_pause_s = longest_pause_s
        self._req = 0
        self._waiting: dict[int, OnAnswer] = {}
        self._queue: deque[bytes] = deque()
        self._behind: deque[bytes] = deque()  # sent when nothing else is to be
        self._queued = asyncio.Event()
        self._up = asyncio.Event()
        self._closing = asyncio.Event()
        self._socket: ClientConnection | None = None
        self.address = Address("")  # that was dialled last
        self.down_since = clock.monotonic()
        self.heard_at = self.down_since

    @property
    def up(self) -> bool:
        return self._up.is_set()

    def post(self, make: Make, on_answer: OnAnswer) -> None:
        """Send a request. ``on_answer`` gets None if the connection is lost before the answer."""
        if not self.up:
            on_answer(None)
            return
        self._req += 1
        self._waiting[self._req] = on_answer
        self._queue.append(_encode(make(self._req)))
        self._queued.set()

    def tell(self, message: Listening) -> None:
        """Send what is not answered; nothing while there is no connection."""
        if self.up:
            self._queue.append(_encode(message))
            self._queued.set()

    async def post_behind(self, message: ChannelMessage) -> None:
        """Send what may be much, behind all that renews a lease. Never waits; a channel has no more
        under way than its window."""
        if self.up:
            self._behind.append(_encode(message))
            self._queued.set()

    def ask(self, make: Make, at_once: OnAnswer | None = None) -> asyncio.Future[Answer | None]:
        """Send a request; the answer comes later, None if the connection was lost.

        ``at_once`` gets it before the next message of the server is looked at.
        """
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer | None) -> None:
            if at_once is not None:
                at_once(answer)
            if not future.done():
                future.set_result(answer)

        self.post(make, settle)
        return future

    async def answer(self, make: Make, at_once: OnAnswer | None = None) -> Answer:
        """Ask until there is an answer, over as many connections as it takes."""
        while (answer := await self.ask(make, at_once)) is None:
            await self._up.wait()
        return answer

    async def settle(
        self, make: Make, at_once: OnAnswer | None = None, first: Answer | None = None
    ) -> Answer:
        """Ask until it is granted, or refused for good. ``first``: it was asked already, and this
        is the answer."""
        answer = first
        while answer is None or not (answer.ok or refuses(answer)):
            if answer is not None:
                await asyncio.sleep(AGAIN_S)
            answer = await self.answer(make, at_once)
        return answer

    async def run(self) -> None:
        """Dial until closed. Raises ProtocolMismatch when the server speaks another version."""
        pause_s = FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                await self._session()
                pause_s = FIRST_PAUSE_S
            except (OSError, WebSocketException, msgspec.DecodeError) as error:
                log.info("no connection: %s", _why(error))
            await self._rest(pause_s)
            pause_s = min(2 * pause_s, self._longest_pause_s)

    def redial(self) -> None:
        """Give up the present connection, which does not answer."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def close(self) -> None:
        """Send what is queued and end."""
        self._closing.set()
        if self._socket is not None and self.up:
            await self._flush(self._socket)
            await self._socket.close()

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s * random.uniform(0.5, 1.5)):
                await self._closing.wait()
        except TimeoutError:
            pass

    async def _session(self) -> None:
        address = self.address = self._peer.address()
        url = address.url.replace("http", "ws", 1).rstrip("/") + PATH
        async with connect(
            url,
            **await _proven(address),
            additional_headers=self._headers,
            compression=None,
            max_size=FRAME_BYTES,
            open_timeout=OPEN_S,
            close_timeout=1,
            ping_interval=None,  # our own Ping tells the server something, too
            proxy=None,
        ) as socket:
            await self._greet(socket)
            writer = asyncio.create_task(self._write(socket))
            try:
                await self._read(socket)
            finally:
                writer.cancel()
                self._drop()

    async def _greet(self, socket: ClientConnection) -> None:
        await socket.send(_encode(self._peer.hello()))
        async with asyncio.timeout(OPEN_S):
            welcome = _decode(await socket.recv(decode=False))
        if not isinstance(welcome, Welcome) or welcome.protocol != PROTOCOL:
            spoken = getattr(welcome, "protocol", "another protocol")
            raise ProtocolMismatch(
                f"the server speaks version {spoken} of the protocol, this worker {PROTOCOL}",
                hint="install the same version of jupyter-remote-run on both",
            )
        self._socket = socket
        self.heard_at = self._clock.monotonic()
        self._up.set()
        self._peer.welcomed(welcome)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                message = _decode(await socket.recv(decode=False))
                self.heard_at = self._clock.monotonic()
                if isinstance(message, Answer):
                    on_answer = self._waiting.pop(message.req, None)
                    if on_answer is not None:
                        on_answer(message)
                else:
                    self._peer.heard(message)
        except ConnectionClosed as error:
            log.info("connection closed: %s", error)

    async def _write(self, socket: ClientConnection) -> None:
        try:
            while True:
                await self._queued.wait()
                self._queued.clear()
                await self._flush(socket)
        except ConnectionClosed:
            return  # the reader notices, too, and tells everybody

    async def _flush(self, socket: ClientConnection) -> None:
        while self._queue or self._behind:
            await socket.send((self._queue or self._behind).popleft())

    def _drop(self) -> None:
        self._up.clear()
        self._socket = None
        self.down_since = self._clock.monotonic()
        self._queue.clear()
        self._behind.clear()
        waiting, self._waiting = self._waiting, {}
        for on_answer in waiting.values():
            on_answer(None)
        self._peer.lost()


def refuses(answer: Answer) -> bool:
    """For good: asked again the answer would be the same."""
    return not answer.ok and answer.code not in AGAIN_CODES


async def _proven(address: Address) -> dict[str, Any]:
    """The socket to dial over, where the server has proved on it who it is."""
    if not address.key:
        return {}
    parts = urlsplit(address.url)
    host, port = parts.hostname or "", parts.port or 80
    connection = await asyncio.to_thread(proven, host, port, address.key)
    connection.sock.setblocking(False)
    return {"sock": connection.sock}


def _why(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, JupyterRemoteError):
        return error.message
    return str(error) or type(error).__name__
