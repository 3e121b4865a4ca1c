"""A kernel process without IPython: speaks the channel, runs plain code. Quick to start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from jupyter_remote.wire import RemoteFailure, encode
from jupyter_remote.worker import channel

Begin = Callable[..., Awaitable[Any]]
"""Starts an agent."""


class FakeHandle:
    """The agent's end of a fake kernel."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        self.pid = process.pid
        self._process = process
        self._sock = sock

    async def open(self) -> FakeHandle:
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._sock)
        return self

    async def send(self, message: channel.ToKernel) -> None:
        self._writer.write(channel.pack(message))
        await self._writer.drain()

    async def receive(self) -> channel.FromKernel:
        size = channel.LENGTH.unpack(await self._reader.readexactly(4))[0]
        body = await self._reader.readexactly(size)
        message: channel.FromKernel = msgspec.msgpack.decode(body, type=channel.FromKernel)
        return message

    def relieve(self, now: float) -> list[channel.Text]:
        return []

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def checkpoint(self, why: str) -> None:
        self._process.send_signal(channel.CHECKPOINTS[why])

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> str:
        code = await self._process.wait()
        return f"exit {code}" if code >= 0 else signal.Signals(-code).name

    def close(self) -> None:
        self._writer.close()


class FakeLauncher:
    """Starts fake kernels; counts them."""

    def __init__(self, executable: str = "") -> None:
        self.handles: list[FakeHandle] = []
        self.problem = "" if executable in ("", sys.executable) else f"no such file: {executable}"

    async def start(self) -> FakeHandle:
        if self.problem:
            raise OSError(self.problem)
        ours, theirs = socket.socketpair()
        # as in a real kernel one that comes early is for the job that is on its way
        before = signal.pthread_sigmask(signal.SIG_BLOCK, channel.CHECKPOINTS.values())
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.handles.append(await FakeHandle(process, ours).open())
        return self.handles[-1]

    async def close(self) -> None:
        pass


# --- in the process --------------------------------------------------------------------------
class Mouth:
    """What the code of a job sees as ``kernel``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def say(self, *messages: channel.FromKernel) -> None:
        self._sock.sendall(b"".join(map(channel.pack, messages)))

    def print(self, text: str, name: str = "stdout") -> None:
        self.say(channel.Text(name, text))

    def display(self, text: str) -> None:
        content = encode({"data": {"text/plain": text}, "metadata": {}, "transient": {}})
        self.say(channel.Out(msg_type="display_data", content=content))

    def spool(self, run: channel.Run, data: bytes) -> Any:
        """A result in a file, as a kernel writes large ones."""
        from blake3 import blake3

        from jupyter_remote.wire import Parcel, Result, Segment

        segment = Segment(blake3(data).hexdigest(), len(data))
        name = f"spooled-{segment.digest[:8]}"
        with open(os.path.join(run.spool, name), "wb") as file:
            file.write(data)
        self.spooled = [channel.Spooled(segment, name)]
        self.result = encode(Result(value=Parcel([segment])))

    def saves(self, run: channel.Run, data: bytes) -> None:
        """From now on it has this to say when it is asked for a checkpoint."""
        self.when_asked(lambda why: self._save(why, run, data))

    def when_asked(self, act: Callable[[str], None]) -> None:
        """What it does, from now on, when it is asked for a checkpoint."""
        for why, number in channel.CHECKPOINTS.items():
            signal.signal(number, lambda *_, why=why: act(why))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, channel.CHECKPOINTS.values())

    def _save(self, why: str, run: channel.Run, data: bytes) -> None:
        from blake3 import blake3

        from jupyter_remote.wire import Parcel, Segment

        segment = Segment(blake3(data).hexdigest(), len(data))
        with open(os.path.join(run.spool, segment.digest[:8]), "wb") as file:
            file.write(data)
        spooled = [channel.Spooled(segment, segment.digest[:8])]
        self.say(channel.Saved(why=why, value=Parcel([segment]), spooled=spooled))

    def every(self, every_s: float) -> None:
        self.say(channel.Every(every_s))

    def saves_nothing(self, problem: str) -> None:
        self.when_asked(lambda why: self.say(channel.Saved(why=why, problem=problem)))

    def rests(self, holds_gpu: bool) -> None:
        """What it says once a call has ended and none has followed; until then it holds a GPU."""
        self.rested = channel.Rested(holds_gpu)

    spooled: list[channel.Spooled] = []  # noqa: RUF012
    result: bytes | None = None
    rested: channel.Rested | None = None


def _run(mouth: Mouth, run: channel.Run) -> channel.Finished:
    os.chdir(run.folder)
    mouth.spooled, mouth.result = [], None
    error, interrupted = None, False
    try:
        exec(run.spec.code, {"kernel": mouth, "run": run})
    except BaseException as raised:
        interrupted = isinstance(raised, KeyboardInterrupt)
        error = RemoteFailure(ename=type(raised).__name__, evalue=str(raised))
    return channel.Finished(
        job=run.job,
        epoch=run.epoch,
        ok=error is None,
        error=error,
        interrupted=interrupted,
        spooled=mouth.spooled,
        result=mouth.result,
        holds_gpu=mouth.rested is not None,
    )


def serve(fd: int) -> None:
    """The life of the process."""
    sock = socket.socket(fileno=fd)
    mouth = Mouth(sock)
    mouth.say(channel.Ready(pid=os.getpid()))
    while True:
        try:
            size = channel.LENGTH.unpack(channel.receive_exactly(sock, 4))[0]
        except EOFError:
            return
        message = msgspec.msgpack.decode(channel.receive_exactly(sock, size), type=channel.ToKernel)
        if isinstance(message, channel.Run):
            finished = _run(mouth, message)
            mouth.say(finished, *([mouth.rested] if mouth.rested else []))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
