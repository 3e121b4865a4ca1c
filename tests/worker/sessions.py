"""Clients of a real session kernel, without a server: they speak its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pickle
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from jupyter_remote import calls, values
from jupyter_remote.wire import JobSpec, Segment
from jupyter_remote.worker import channel
from jupyter_remote.worker.launch import KernelLauncher
from tests.worker.playing_agent import LIMIT_S, PlayingAgent, Transcript, started

_ids = itertools.count(1)
_functions = itertools.count(1)
Message = calls.FromSession


class Caller:
    """One connection; everything that was said on it is in ``heard``."""

    def __init__(self, session: Playing, name: str, control: bool = False, **hi: Any) -> None:
        self.session = session
        self.name = name
        self.heard: list[Message] = []
        self._control = control
        self._hi = {"key": session.key, "client": name, "about": name, "control": control, **hi}
        self._pieces = calls.Pieces(calls.FromSession)
        self._known: dict[Any, int] = {}

    async def connect(self) -> calls.Welcome:
        self.reader, self.writer = await self.session.connection()
        await self.send(calls.Hi(**self._hi))
        await self.until(lambda m: isinstance(m, calls.Welcome))
        welcome = self.heard.pop(0)
        assert isinstance(welcome, calls.Welcome)
        return welcome

    async def send(self, *messages: calls.ToSession) -> None:
        self.writer.write(b"".join(map(calls.packed, messages)))
        await self.writer.drain()

    async def until(self, seen: Callable[[Message], Any]) -> Message:
        """What was heard already counts. Raises EOFError at the end of the connection."""
        at = 0
        async with asyncio.timeout(LIMIT_S):
            while True:
                while at < len(self.heard):
                    if seen(self.heard[at]):
                        return self.heard[at]
                    at += 1
                data = await self.reader.read(1 << 20)
                if not data:
                    raise EOFError
                self.heard += self._pieces.add(data)

    async def ended(self) -> None:
        """The session hung up."""
        async with asyncio.timeout(LIMIT_S):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(1 << 20):
                    continue

    # -- calls
    def call(self, function: Any, *args: Any, **kwargs: Any) -> calls.Call:
        """A message; the function travels with the first one."""
        code = None
        if function not in self._known:
            self._known[function] = next(_functions)
            code = values.pack(function, namespace=self.session.names, chunked=False).parcel
        plain = pickle.dumps((args, kwargs)) if args or kwargs else pickle.dumps(((), {}))
        return calls.Call(next(_ids), self._known[function], code, plain)

    async def begin(self, function: Any, *args: Any, **kwargs: Any) -> int:
        call = self.call(function, *args, **kwargs)
        await self.send(call)
        return call.id

    async def reply(self, id: int) -> calls.Reply:
        found = await self.until(lambda m: isinstance(m, calls.Reply) and m.id == id)
        assert isinstance(found, calls.Reply)
        return found

    async def ask(self, function: Any, *args: Any, **kwargs: Any) -> calls.Reply:
        return await self.reply(await self.begin(function, *args, **kwargs))

    async def value(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return value_of(await self.ask(function, *args, **kwargs), self.session.names)

    async def run(self, code: str, name: str = "In [1]") -> calls.Reply:
        """As a cell."""
        id = next(_ids)
        await self.send(calls.Execute(id, code, name, "/tmp/ipykernel_1/session.py"))
        return await self.reply(id)

    async def stop(self, id: int, running: bool = True) -> None:
        control = Caller(self.session, self.name, control=True)
        await control.connect()
        await control.send(calls.Stop(id, running))
        if not running:
            await control.until(lambda m: m == calls.Noted(id))
        control.writer.close()

    @property
    def text(self) -> str:
        return "".join(m.text for m in self.heard if isinstance(m, calls.Text))

    @property
    def words(self) -> list[str]:
        """What was heard, in its order."""
        return [
            m.text.strip() if isinstance(m, calls.Text) else type(m).__name__ for m in self.heard
        ]


def idle_after(limit_s: float) -> str:
    """Code that has its session end when idle for so long, but not before that was said."""
    code = (
        "import gc\nfrom jupyter_remote.worker.idle import Idle\n"
        "[its] = [one for one in gc.get_objects() if type(one) is Idle]\n"
        f"its.limit_s = {limit_s}"
    )
    return f"exec({code!r}, {{}})"


def value_of(reply: calls.Reply, names: dict[str, Any]) -> Any:
    assert reply.error is None, reply.error
    assert not reply.dropped
    if reply.value is not None:
        return values.unpack(reply.value, _nothing_beside, namespace=names, at_home=True)
    return values.loads(reply.plain, names, at_home=True) if reply.plain else None


def _nothing_beside(segment: Segment) -> memoryview:
    raise AssertionError(f"{segment} is beside the message")


class Playing(PlayingAgent):
    """The agent's end of a session."""

    address = ""
    key = ""

    async def open(self, left: int | None = None, **spec: Any) -> None:
        """``left``: of its money."""
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.writers: list[asyncio.StreamWriter] = []
        address = f"@jupyter-remote-test-{os.getpid()}-{next(_ids)}"
        contents = spec.pop("contents", None)
        of_it = JobSpec(kind="session", session="lab", **spec)
        await self.send(of_it, contents, address=address, budget_left_ucredits=left)
        said = await self.until(lambda m: isinstance(m, channel.Listening))
        assert isinstance(said, channel.Listening)
        self.address, self.key = said.address, said.key

    async def caller(self, name: str = "ada", **hi: Any) -> Caller:
        made = Caller(self, name, **hi)
        await made.connect()
        return made

    def sock(self) -> socket.socket:
        """A connection on which nothing was said."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect("\0" + self.address[1:])
        return sock

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The same."""
        reader, writer = await asyncio.open_unix_connection(sock=self.sock())
        self.writers.append(writer)
        return reader, writer

    async def hang_up(self) -> None:
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def session_cell(self, code: str) -> Transcript:
        """A cell that the agent sends into the session."""
        outer, number = self.now, next(_ids)
        self.now = Transcript()
        spec = JobSpec(kind="cell", code=code, session="s", name="In [9]", filename="/tmp/c.py")
        run = channel.Run(
            job=f"cell-{number}", epoch=1, spec=spec, folder=str(outer.folder / "cwd"),
            spool=str(outer.folder / "spool"),
        )  # fmt: skip
        self.now.folder, self.now.run = outer.folder, run
        await self.handle.send(run)
        await self.until(lambda m: isinstance(m, channel.Finished) and m.job == run.job)
        told, self.now = self.now, outer
        return told

    async def end(self) -> channel.Finished:
        """Told to stop."""
        await self.handle.send(channel.Stop())
        return (await self.finish()).done


@contextlib.asynccontextmanager
async def playing(launcher: KernelLauncher, folder: Path, **spec: Any) -> AsyncIterator[Playing]:
    agent = await started(launcher, folder)
    session = Playing(agent.handle, folder)
    try:
        await session.open(**spec)
        yield session
    finally:
        await session.hang_up()
        session.handle.kill()
        with contextlib.suppress(asyncio.CancelledError):
            await session.handle.wait()
        session.handle.close()
