"""Starts kernel processes and ends them: from a zygote on Linux, as plain processes elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from typing import Protocol

import msgspec

from jupyter_remote.errors import JobLost
from jupyter_remote.worker import channel, hygiene
from jupyter_remote.worker.remains import Remains
from jupyter_remote.worker.users import User, as_user
from jupyter_remote.worker.verdict import ORPHANED, ending

TRIES = 4
START_S = 60.0  # a machine under load may take long to import IPython
CLOSE_S = 10.0
READ_BYTES = 1 << 20

_decode = msgspec.msgpack.Decoder(channel.FromKernel).decode


class _Process(Protocol):
    """What a handle needs of its process."""

    pid: int

    async def wait(self) -> str: ...

    def kill(self) -> None: ...


class KernelHandle:
    """A kernel process, as the agent sees it."""

    def __init__(self, process: _Process, sock: socket.socket, remains: Remains) -> None:
        self.pid = process.pid
        self._process = process
        self._sock = sock
        self._remains = remains
        self._names: dict[str, str] = {}  # of cells, by their files
        self._folder = ""
        self._heard_bytes = 0  # of text
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._last_words: deque[channel.FromKernel] | None = None
        self._size: int | None = None  # of the message whose length was read already

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(
            sock=self._sock, limit=READ_BYTES
        )

    async def send(self, message: channel.ToKernel) -> None:
        """Raises OSError when the kernel is gone."""
        if isinstance(message, channel.Run):
            spec = message.spec
            self._names = spec.source_names | {spec.filename: spec.name}
            self._folder = message.folder
        assert self._writer is not None
        self._writer.write(channel.pack(message))
        await self._writer.drain()

    async def receive(self) -> channel.FromKernel:
        """The next message; after a crash also what the kernel had no time to send.

        May be cancelled and called again. Raises EOFError when there is no more.
        """
        if self._last_words is None:
            try:
                return await self._receive()
            except (asyncio.IncompleteReadError, OSError):
                await self._process.wait()
                words = self._remains.last_words(self._heard_bytes, self._names, self._folder)
                self._last_words = deque(words)
        if self._last_words:
            return self._last_words.popleft()
        raise EOFError(f"kernel {self.pid} is gone")

    async def _receive(self) -> channel.FromKernel:
        assert self._reader is not None
        if self._size is None:
            head = await self._reader.readexactly(channel.LENGTH.size)
            (self._size,) = channel.LENGTH.unpack(head)
        body = await self._reader.readexactly(self._size)
        self._size = None
        message: channel.FromKernel = _decode(body)
        self._heard_bytes += channel.text_bytes(message)
        return message

    def relieve(self, now: float) -> list[channel.Text]:
        """See ``Remains.relieve``."""
        return self._remains.relieve(now)

    def interrupt(self) -> None:
        """KeyboardInterrupt in user code, and in what it started, as Jupyter does it: code that
        waits for a pool of processes could not end otherwise."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: they are just gone
            os.killpg(self.pid, signal.SIGINT)

    def checkpoint(self, why: str) -> None:
        """Ask user code for one; the answer is ``channel.Saved``."""
        if (number := channel.CHECKPOINTS.get(why)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process, its group and every descendant."""
        self._process.kill()

    async def wait(self) -> str:
        """How it ended: ``exit 0``, ``SIGSEGV``, ``SIGKILL``. Its descendants are gone by then."""
        return await self._process.wait()

    def close(self) -> None:
        """Let go of it; called when nothing more is wanted from it."""
        if self._writer is not None:
            self._writer.close()
        self._remains.close()


class KernelLauncher:
    """Starts kernels of one interpreter.

    Parameters
    ----------
    executable: the Python interpreter; this package must be importable there.
    environ: environment of user code; by default this process's own, without tokens.
    fork: from a zygote (Linux); by default where that works.
    user: who runs user code; by default whoever runs this.
    """

    def __init__(
        self,
        executable: str = "",
        *,
        environ: dict[str, str] | None = None,
        fork: bool | None = None,
        user: User | None = None,
    ) -> None:
        self._executable = executable or sys.executable
        given = dict(os.environ if environ is None else environ)
        self._environ = hygiene.clean_environment(user.environ(given) if user else given)
        self._user = user
        self._fork = sys.platform == "linux" if fork is None else fork
        self._zygote: _ZygoteProcess | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> KernelHandle:
        """A new kernel process; it says Ready first. Raises JobLost when none can be started."""
        ours, theirs = socket.socketpair()
        remains = Remains()
        if self._user is not None:  # so that they can be opened again, as /dev/stdout
            for fd in remains.fds:
                os.fchown(fd, self._user.uid, self._user.gid)
        try:
            process = await self._process([theirs.fileno(), *remains.fds])
        except BaseException:
            ours.close()
            remains.close()
            raise
        finally:
            theirs.close()
        remains.handed_over()
        handle = KernelHandle(process, ours, remains)
        await handle.open()
        return handle

    async def _process(self, fds: list[int]) -> _Process:
        if not self._fork:
            return await _spawn(self._executable, self._environ, fds, self._user)
        for _ in range(TRIES):  # a zygote may have died meanwhile: once more, with a new one
            with contextlib.suppress(ConnectionError):
                return await (await self._alive_zygote()).fork(fds)
        raise JobLost(
            f"No kernel process could be started with {self._executable}.",
            hint="Check that `import jupyter_remote, ipykernel` works in that interpreter.",
        )

    async def _alive_zygote(self) -> _ZygoteProcess:
        async with self._starting:
            if self._zygote is None or not self._zygote.alive:
                self._zygote = _ZygoteProcess(self._executable, self._environ, self._user)
            return self._zygote

    async def close(self) -> None:
        """End all kernels that were started here."""
        if self._zygote is not None:
            await self._zygote.close()
            self._zygote = None


class _ZygoteProcess:
    """The launcher's end of a zygote."""

    def __init__(self, executable: str, environ: dict[str, str], user: User | None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._process = subprocess.Popen(
            as_user(user, [executable, "-m", "jupyter_remote.worker.zygote", str(theirs.fileno())]),
            env=environ,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            cwd="/" if user else None,
        )
        theirs.close()
        self.alive = True
        self._asked: deque[asyncio.Future[int]] = deque()
        self._ends: dict[int, asyncio.Future[str]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._control, self._read)

    async def fork(self, fds: list[int]) -> _Forked:
        """Raises ConnectionError when the zygote is dead, JobLost when it does not answer."""
        answer: asyncio.Future[int] = self._loop.create_future()
        self._asked.append(answer)
        try:
            socket.send_fds(self._control, [b"fork"], fds)
            pid = await asyncio.wait_for(answer, START_S)
        except TimeoutError:
            raise JobLost(f"no kernel process started within {START_S:.0f} s") from None
        except OSError as error:
            self._lost()
            raise ConnectionError("the zygote is dead") from error
        return _Forked(pid, self._ends[pid])

    def _read(self) -> None:
        try:
            line = self._control.recv(64)
        except BlockingIOError:
            return
        except OSError:
            line = b""
        words = line.decode().split()
        if not words:
            self._lost()
        elif words[0] == "forked":
            pid = int(words[1])
            self._ends[pid] = self._loop.create_future()
            self._asked.popleft().set_result(pid)
        else:
            self._ends.pop(int(words[1])).set_result(
                ending(os.waitstatus_to_exitcode(int(words[2])))
            )

    def _lost(self) -> None:
        """The zygote is dead, and by its death its kernels (see ``hygiene.die_with_parent``)."""
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._control)
        self._control.close()
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(ConnectionResetError("the zygote died"))
        self._asked.clear()
        for pid, end in self._ends.items():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what they started
            end.set_result(ORPHANED)
        self._ends.clear()
        self._process.kill()
        self._process.wait()

    async def close(self) -> None:
        """It kills what it started, then it ends."""
        if self.alive:
            self._loop.remove_reader(self._control)
            self._control.shutdown(socket.SHUT_WR)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, CLOSE_S)
        self._lost()


class _Forked:
    """A process that the zygote forked; the zygote reaps it and all that it leaves behind."""

    def __init__(self, pid: int, end: asyncio.Future[str]) -> None:
        self.pid = pid
        self._end = end

    async def wait(self) -> str:
        return await asyncio.shield(self._end)

    def kill(self) -> None:
        if not self._end.done():
            for kill in (os.killpg, os.kill):  # the second if it has no group of its own yet
                with contextlib.suppress(ProcessLookupError):
                    kill(self.pid, signal.SIGKILL)


async def _spawn(
    executable: str, environ: dict[str, str], fds: list[int], user: User | None
) -> _Spawned:
    process = await asyncio.create_subprocess_exec(
        *as_user(user, [executable, "-m", "jupyter_remote.worker.kernel", *map(str, fds)]),
        env=environ,
        stdin=subprocess.DEVNULL,
        pass_fds=fds,
        start_new_session=True,
        cwd="/" if user else None,
    )
    return _Spawned(process)


class _Spawned:
    """A process that was started plainly."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process

    async def wait(self) -> str:
        return ending(await self._process.wait())

    def kill(self) -> None:
        import psutil

        if self._process.returncode is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            descendants = psutil.Process(self.pid).children(recursive=True)
            os.killpg(self.pid, signal.SIGKILL)
            for process in descendants:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
