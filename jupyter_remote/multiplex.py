"""Streams of bytes that share one WebSocket, between worker and server.

Each has a window of its own in either direction: who does not take what came for it holds up
nobody else, and fills the memory of no one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from jupyter_remote.wire import ChannelMessage, Data, Shut, Took

WINDOW_BYTES = 1 << 20  # under way in one direction of a channel: sent, and not taken
PIECE_BYTES = 1 << 16  # of one message
TELL_BYTES = WINDOW_BYTES // 8  # taken, until that is told

Post = Callable[[ChannelMessage], Awaitable[object]]


class Channel:
    """One end of a stream. ``post`` sends a message to the other end."""

    def __init__(self, number: int, post: Post) -> None:
        self.number = number
        self.why = ""  # it is over, as the other end says
        self.lost = False  # with what carried it
        self._post = post
        self._over = False
        self._knows = False  # the other end, that it is
        self._arrived: deque[bytes] = deque()
        self._held = 0  # bytes that came and were not taken
        self._untold = 0  # bytes that were taken and of which the other end does not know
        self._under_way = 0  # bytes that the other end has not taken
        self._news = asyncio.Event()  # for who receives
        self._room = asyncio.Event()  # for who sends

    async def send(self, data: bytes) -> None:
        """Send at most PIECE_BYTES as soon as there is room. Raises BrokenPipeError at the end."""
        while self._under_way + len(data) > WINDOW_BYTES and not self._over:
            self._room.clear()
            await self._room.wait()
        if self._over:
            raise BrokenPipeError(self.why or "the other end is gone")
        self._under_way += len(data)
        await self._post(Data(self.number, data))

    async def receive(self) -> bytes:
        """The next piece, which counts until :meth:`took` is told of it; empty at the end."""
        while not self._arrived:
            if self._over:
                return b""
            self._news.clear()
            await self._news.wait()
        return self._arrived.popleft()

    async def took(self, size_bytes: int) -> None:
        """So much of what was received was handed on."""
        self._held -= size_bytes
        self._untold += size_bytes
        if self._untold >= TELL_BYTES and not self._over:
            told, self._untold = self._untold, 0
            await self._post(Took(self.number, told))

    async def shut(self, why: str = "") -> None:
        """Nothing more is sent or received at this end."""
        self._end(why)
        if not self._knows:
            self._knows = True
            await self._post(Shut(self.number, why))

    # -- what the other end says
    def hear(self, message: ChannelMessage) -> None:
        """Never waits. Who sends more than there is room for is not listened to any more."""
        if isinstance(message, Data):
            self._held += len(message.data)
            if self._held + self._untold > WINDOW_BYTES:
                self._arrived.clear()
                self._end("it sent more than it may")
            elif message.data and not self._over:
                self._arrived.append(message.data)
                self._news.set()
        elif isinstance(message, Took):
            self._under_way = max(0, self._under_way - message.size_bytes)
            self._room.set()
        else:
            self._knows = True
            self._end(message.why)

    def lose(self) -> None:
        """What carried it broke."""
        self.lost = self._knows = True
        self._end("the connection to its worker was lost")

    def _end(self, why: str) -> None:
        if not self._over:
            self._over, self.why = True, why
        self._news.set()
        self._room.set()


class Channels:
    """Those of one WebSocket, by their numbers."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._open: dict[int, Channel] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def new(self, number: int = 0) -> Channel:
        """A channel; of the next number, if it is numbered here."""
        number = number or self._last + 1
        self._last = max(self._last, number)
        channel = self._open[number] = Channel(number, self._post)
        return channel

    async def close(self, channel: Channel, why: str = "") -> None:
        """Called once this end is done with it. What comes for it later is dropped."""
        if self._open.get(channel.number) is channel:
            del self._open[channel.number]
        await channel.shut(why)

    def hear(self, message: ChannelMessage) -> None:
        channel = self._open.get(message.channel)
        if channel is not None:
            channel.hear(message)

    def lose(self) -> None:
        """The WebSocket is gone: the channels are over, and their numbers are free again."""
        channels, self._open = self._open, {}
        self._last = 0
        for channel in channels.values():
            channel.lose()
