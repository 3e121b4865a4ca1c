"""The server's end of the workers' socket, without a store: it remembers what it was told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from jupyter_remote.wire import (
    Answer,
    Assign,
    Beat,
    Cancel,
    Complete,
    Drain,
    Hello,
    JobSpec,
    Listening,
    Notice,
    Ping,
    Release,
    Saved,
    ServerMessage,
    Start,
    Warned,
    Welcome,
    WorkerEvent,
    WorkerMessage,
)

LIMIT_S = 60.0


class FakeServer:
    """Answers everything with ok unless told otherwise."""

    def __init__(self) -> None:
        self.url = ""
        self.hellos: list[Hello] = []
        self.heard: list[WorkerMessage] = []
        self.events: dict[str, list[WorkerEvent]] = {}
        self.latest: dict[str, list[WorkerEvent]] = {}
        self.completes: dict[str, Complete] = {}
        self.listening_to: list[Listening] = []
        self.answers: Callable[[WorkerMessage], Answer | None] | None = None
        self.keep = True
        self.blobs = self.spool = ""
        self.heartbeat_s, self.dead_man_s = 0.2, 30.0
        self.gpu_idle_s = 0.0
        self.headers: list[str] = []
        self.stored: dict[str, bytes] = {}  # blobs
        self.refused = 0  # of them, for its disk
        self.is_full = False
        self._writers: list[asyncio.StreamWriter] = []
        self._changed = asyncio.Event()
        self._socket: ServerConnection | None = None
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[FakeServer]:
        async with (
            serve(self._talk, "127.0.0.1", 0, compression=None, max_size=None) as sockets,
            await asyncio.start_server(self._front, "127.0.0.1", port, limit=1 << 24) as front,
        ):
            self._inner = next(iter(sockets.sockets)).getsockname()[1]
            self.port = front.sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}"
            self._listener = front
            yield self
            self.cut()

    async def _front(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """HTTP for blobs is answered here, everything else goes on to the WebSocket."""
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith((b"PUT", b"GET /v1/blobs")):
            await self._blob(head.decode(), reader, writer)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
        there, onward = await asyncio.open_connection("127.0.0.1", self._inner)
        self._writers = [writer, onward]
        onward.write(head)
        await asyncio.gather(_pump(reader, onward), _pump(there, writer))

    async def _blob(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        lines = head.split("\r\n")
        method, digest = lines[0].split(" ")[0], lines[0].split(" ")[1].rsplit("/", 1)[1]
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        status, reply = 200, b"{}"
        if method == "GET" and digest in self.stored:
            reply = self.stored[digest]
        elif method == "GET":
            status, reply = 404, b'{"title":"","status":404,"code":"not_found"}'
        elif self.is_full:
            self.refused += 1
            status, reply = 507, b'{"title":"","status":507,"code":"storage_full"}'
        elif name := headers.get("x-spool"):
            spooled = Path(self.spool) / name
            self.stored[digest] = spooled.read_bytes()
            spooled.unlink()
        else:
            self.stored[digest] = body
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(reply)}\r\n\r\n".encode())
        writer.write(reply)
        await writer.drain()

    # -- to the worker
    async def assign(self, code: str, *, kind: str = "cell", **options: Any) -> str:
        """Returns the job's id."""
        job = f"job-{next(self._numbers)}"
        spec_options = {
            key: options.pop(key) for key in list(options) if key in JobSpec.__struct_fields__
        }
        spec = JobSpec(kind=kind, code=code, **spec_options)  # type: ignore[arg-type]
        await self.send(Assign(job=job, epoch=options.pop("epoch", 1), spec=spec, **options))
        return job

    async def cancel(
        self, job: str, how: str = "interrupt", kill_in_s: float | None = None
    ) -> None:
        await self.send(Cancel(job=job, epoch=1, how=how, kill_in_s=kill_in_s))  # type: ignore[arg-type]

    async def drain(self) -> None:
        await self.send(Drain())

    async def send(self, message: ServerMessage) -> None:
        assert self._socket is not None
        await self._socket.send(msgspec.msgpack.encode(message))

    async def close(self) -> None:
        """The server is gone."""
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """The network breaks: nothing is closed in order."""
        for writer in self._writers:
            writer.transport.abort()

    # -- what happened
    async def until(self, condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
        """Wait until ``condition()`` is true; returns what it gives."""
        async with asyncio.timeout(limit_s):
            while not (found := condition()):
                self._changed.clear()
                await self._changed.wait()
            return found

    async def end_of(self, job: str, limit_s: float = LIMIT_S) -> Complete:
        done: Complete = await self.until(lambda: self.completes.get(job), limit_s)
        return done

    def text(self, job: str) -> str:
        streams = (e for e in self.events.get(job, []) if e.type == "stream")
        return "".join(msgspec.json.decode(e.data)["text"] for e in streams)

    def data(self, job: str, type: str) -> list[Any]:
        everything = self.events.get(job, []) + self.latest.get(job, [])
        return [msgspec.json.decode(e.data) for e in everything if e.type == type]

    def of(self, kind: type[Any]) -> Iterator[Any]:
        return (message for message in self.heard if isinstance(message, kind))

    # -- inside
    async def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers.append(socket.request.headers.get("Authorization", ""))
        decoder = msgspec.msgpack.Decoder(WorkerMessage)
        hello = decoder.decode(await socket.recv(decode=False))
        self.hellos.append(hello)
        self._socket = socket
        welcome = Welcome(
            heartbeat_s=self.heartbeat_s,
            dead_man_s=self.dead_man_s,
            gpu_idle_s=self.gpu_idle_s,
            keep=hello.running if self.keep else [],
            blobs=self.blobs,
            spool=self.spool,
        )
        await socket.send(msgspec.msgpack.encode(welcome))
        self._changed.set()
        while (frame := await _next(socket)) is not None:
            message = decoder.decode(frame)
            if isinstance(message, Listening):
                self.listening_to.append(message)
                self._changed.set()
                continue
            answer = self._answer(message)
            self._changed.set()
            if answer is not None:
                await socket.send(msgspec.msgpack.encode(answer))

    def _answer(self, message: WorkerMessage) -> Answer | None:
        assert isinstance(
            message, Start | Beat | Complete | Warned | Saved | Release | Ping | Notice
        )
        self.heard.append(message)
        answer = Answer(req=message.req)
        if self.answers is not None and not isinstance(message, Ping):
            given = self.answers(message)
            if given is None or not given.ok:
                return given and msgspec.structs.replace(given, req=message.req)
            answer = msgspec.structs.replace(given, req=message.req)
        if isinstance(message, Beat | Complete):
            self._store(message.job, message.events)
        if isinstance(message, Complete):
            self.completes.setdefault(message.job, message)
        return answer

    def _store(self, job: str, events: list[WorkerEvent]) -> None:
        stored = self.events.setdefault(job, [])
        last = stored[-1].seq if stored else 0
        for event in events:
            if event.seq == 0:
                self.latest.setdefault(job, []).append(event)
            elif event.seq > last:
                assert event.seq == last + 1, "an event is missing"
                stored.append(event)
                last = event.seq


async def _next(socket: ServerConnection) -> bytes | None:
    try:
        return await socket.recv(decode=False)
    except ConnectionClosed:
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # cut by a test
    writer.close()


def connection_file(path: Path, url: str) -> Path:
    from jupyter_remote import connection

    connection.write(
        path,
        connection.Connection(
            url=url, token="t", pid=1, started_at=0.0, version="", protocol=1, server_id="s"
        ),
    )
    return path
