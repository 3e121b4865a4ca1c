"""The agent's link: what is sent first."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import Data, Ping, WorkerMessage
from jupyter_remote.worker.link import Link


class Socket:
    """Takes what is sent, and has a beat come due in the middle."""

    def __init__(self, link: Link) -> None:
        self.sent: list[Any] = []
        self._link = link

    async def send(self, data: bytes) -> None:
        self.sent.append(msgspec.msgpack.decode(data, type=WorkerMessage))
        if len(self.sent) == 2:
            self._link.post(lambda req: Ping(req), lambda _: None)


async def test_relayed_bytes_go_behind_what_renews_leases():
    link = Link(None, "token", FakeClock())  # type: ignore[arg-type]
    pieces = [Data(1, bytes([n])) for n in range(5)]
    await link.post_behind(pieces[0])  # there is no connection: it is dropped
    link._up.set()
    for piece in pieces:
        await link.post_behind(piece)
    link.post(lambda req: Ping(req), lambda _: None)
    socket: Any = Socket(link)
    await link._flush(socket)
    assert socket.sent == [Ping(1), pieces[0], Ping(2), *pieces[1:]]
