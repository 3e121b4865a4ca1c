"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

PIECE_BYTES = 64 * 1024
LIMIT_S = 60.0


@dataclass
class Swallow:
    """After a request that matches, the answer is lost: the server has done it, nobody knows."""

    request: re.Pattern[bytes]
    times: int = 1


class Proxy:
    """Listens at ``host`` for what is at a port of loopback. All may be changed while it runs.

    ``cut`` says, for the local port of a client, whether that is partitioned by itself.
    """

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", cut: Callable[[int], bool] | None = None
    ) -> None:
        self.backend_port = port
        self.delay_s = 0.0  # of every piece, in both directions
        self.cut_after_bytes: int | None = None  # of each connection, to its client
        self.connections = 0  # that were ever made
        self._cut = cut or (lambda port: False)
        self._whole = True  # no partition
        self._swallows: list[Swallow] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, host, 0), self._loop
        )
        self._server = started.result(LIMIT_S)
        self.host, self.port = host, self._server.sockets[0].getsockname()[1]
        self.url = f"http://{host}:{self.port}"

    def partition(self) -> None:
        """What is sent arrives nowhere, in either direction, and nobody is told."""
        self._whole = False

    def heal(self) -> None:
        self._whole = True

    def swallow(self, request: str, times: int = 1) -> Swallow:
        """Lose the answer to a request whose bytes match this expression."""
        swallow = Swallow(re.compile(request.encode()), times)
        self._swallows.append(swallow)
        return swallow

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for _ in range(
            3
        ):  # a connection that was just taken is closed by its task, once that has begun
            await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, inward: asyncio.StreamReader, outward: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._serve(inward, outward))
        self._serving.add(task)  # asyncio itself holds it by a weak reference only
        task.add_done_callback(self._serving.discard)
        # also where it is cancelled before it has begun
        task.add_done_callback(lambda _: outward.transport.abort())

    async def _serve(self, inward: asyncio.StreamReader, outward: asyncio.StreamWriter) -> None:
        peer: int = outward.get_extra_info("peername")[1]
        try:
            await self._passable(peer)
            reader, writer = await asyncio.open_connection("127.0.0.1", self.backend_port)
        except OSError:
            return
        link = _Link()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._up(inward, writer, peer, link))
                both.create_task(self._down(reader, outward, peer, link))
        except* (OSError, _Broken):
            pass
        finally:
            writer.transport.abort()

    async def _up(
        self, inward: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: int, link: _Link
    ) -> None:
        while piece := await inward.read(PIECE_BYTES):
            await self._passable(peer)
            for swallow in self._swallows:
                if swallow.times and swallow.request.search(piece):
                    swallow.times -= 1
                    link.swallowing = True
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _down(
        self, reader: asyncio.StreamReader, outward: asyncio.StreamWriter, peer: int, link: _Link
    ) -> None:
        sent = 0
        while piece := await reader.read(PIECE_BYTES):
            await self._passable(peer)
            if link.swallowing:
                raise _Broken
            if self.cut_after_bytes is not None:
                piece = piece[: max(0, self.cut_after_bytes - sent)]
            outward.write(piece)
            await outward.drain()
            sent += len(piece)
            if self.cut_after_bytes is not None and sent >= self.cut_after_bytes:
                break
        outward.close()
        await outward.wait_closed()  # what was written is sent
        raise _Broken

    async def _passable(self, peer: int) -> None:
        """Wait as long as this connection is partitioned."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        while not self._whole or self._cut(peer):
            await asyncio.sleep(0.02)


@dataclass
class _Link:
    """Of one connection."""

    swallowing: bool = False


class _Broken(Exception):
    """The connection ends here."""
