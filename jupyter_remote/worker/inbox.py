"""The kernel's reading end of its socket."""

from __future__ import annotations

import select
import socket
from collections import deque

import msgspec

from jupyter_remote.worker import channel

_decode = msgspec.msgpack.Decoder(channel.ToKernel).decode


class Inbox:
    """Messages from the agent, whole ones only."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = bytearray()
        self.later: deque[channel.ToKernel] = deque()  # read while something else was expected

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self) -> channel.ToKernel:
        """The next message. Raises EOFError when the agent is gone."""
        return self.later.popleft() if self.later else self.next()

    def next(self) -> channel.ToKernel:
        """The same, of what was not read yet."""
        while (message := self.take()) is None:
            self.fill()
        return message

    def take(self) -> channel.ToKernel | None:
        """The next message if it is here already."""
        start = channel.LENGTH.size
        if len(self._data) < start:
            return None
        end = start + channel.LENGTH.unpack_from(self._data)[0]
        if len(self._data) < end:
            return None
        body = bytes(self._data[start:end])
        del self._data[:end]
        message: channel.ToKernel = _decode(body)
        return message

    def here(self) -> channel.ToKernel | None:
        """The next message that was read already, if there is one."""
        return self.later.popleft() if self.later else self.take()

    def fill(self) -> None:
        """Receive what there is; blocks until there is something."""
        part = self._sock.recv(1 << 20)
        if not part:
            raise EOFError("the agent is gone")
        self._data += part

    def quiet(self, for_s: float) -> bool:
        """Does nothing come in that time?"""
        return not (self.later or self._data or self.waiting(for_s))

    def waiting(self, timeout_s: float) -> bool:
        return bool(select.select([self._sock], [], [], timeout_s)[0])
