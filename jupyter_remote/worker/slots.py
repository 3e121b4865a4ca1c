"""Kernel processes: one for each running job, and a warm spare for each interpreter used lately."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.worker.channel import Finished, FromKernel, Rested, Text, ToKernel

LINGER_S = 0.5  # for the last words of a process that ended, and for the end of one that hung up
GONE_S = 10.0  # a driver may hold a process that was killed
USED_IDLE_S = 60.0  # a process that has run calls is kept for this long
INTERPRETER_IDLE_S = 600.0  # an interpreter keeps its spare for this long

log = logging.getLogger(__name__)
Listener = Callable[[FromKernel], Awaitable[None]]


class Handle(Protocol):
    """A kernel process, as :mod:`jupyter_remote.worker.launch` provides it."""

    pid: int

    async def send(self, message: ToKernel) -> None: ...

    async def receive(self) -> FromKernel: ...

    def interrupt(self) -> None: ...

    def checkpoint(self, why: str) -> None: ...

    def kill(self) -> None: ...

    def relieve(self, now: float) -> list[Text]: ...

    async def wait(self) -> str: ...

    def close(self) -> None: ...


class Launcher(Protocol):
    """Starts kernel processes of one interpreter."""

    async def start(self) -> Handle: ...

    async def close(self) -> None: ...


class KernelUnavailable(Exception):
    """No kernel process could be started with this interpreter; says why."""


class Kernel:
    """One process. What it says goes to ``listener``; without one nobody hears it."""

    def __init__(self, handle: Handle, executable: str) -> None:
        self.executable = executable
        self.pid = handle.pid
        self.listener: Listener | None = None
        self.owner: str | None = None  # whose calls it has run; None: fresh
        self.idle_since = 0.0
        self.gpus: Sequence[int] = ()  # of the machine's, that it sees; empty: all
        self.holds_gpu = False
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._handle = handle
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._watch())

    async def send(self, message: ToKernel) -> None:
        """A process that is gone hears nothing: :attr:`ended` says so."""
        try:
            await self._handle.send(message)
        except (OSError, RuntimeError) as error:  # RuntimeError: its socket was closed here
            log.info("kernel %d takes no message: %s", self.pid, error)

    def relieve(self, now: float) -> list[Text]:
        """What waits in pipes that nobody can read over there; see ``Remains.relieve``."""
        return self._handle.relieve(now)

    def interrupt(self) -> None:
        self._handle.interrupt()

    def checkpoint(self, why: str) -> None:
        self._handle.checkpoint(why)

    def kill(self) -> None:
        """The whole group and its descendants, also when the process itself is gone."""
        self._handle.kill()

    def holds(self, gpus: Sequence[int]) -> bool:
        """Memory of one of these GPUs of the machine; none named: of any."""
        shared = not self.gpus or not gpus or not set(self.gpus).isdisjoint(gpus)
        return self.holds_gpu and shared

    async def gone(self) -> None:
        """Return when the process has ended and nobody waits for it any more."""
        await asyncio.gather(self._reader, self._watcher, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                message = await self._handle.receive()
                if isinstance(message, Finished | Rested):
                    self.holds_gpu = message.holds_gpu
                if self.listener is not None and not isinstance(message, Rested):
                    await self.listener(message)
        except (EOFError, OSError):
            pass  # the watcher says how it ended
        except Exception:
            log.exception("kernel %d said something that cannot be understood", self.pid)
            self.kill()

    async def _watch(self) -> None:
        exit = asyncio.create_task(self._handle.wait())
        await asyncio.wait({exit, self._reader}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({exit, self._reader}, timeout=LINGER_S)
        self.kill()  # children that hold the socket, or a process that hung up but lives on
        how = await exit
        await asyncio.wait({self._reader}, timeout=LINGER_S)
        self._reader.cancel()
        self._handle.close()
        if not self.ended.done():
            self.ended.set_result(how)


class Shelf:
    """Kernels of one interpreter that nobody uses just now."""

    def __init__(self, launcher: Launcher, executable: str) -> None:
        self.used_at = 0.0
        self._launcher = launcher
        self._executable = executable
        self._fresh: deque[Kernel] = deque()
        self._used: deque[Kernel] = deque()
        self._waiting: deque[asyncio.Future[Kernel]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._killed: dict[asyncio.Task[None], Kernel] = {}
        self._closed = False

    async def take(self, owner: str | None) -> Kernel:
        """A process that has run nothing; or, with an owner, one that ran calls of theirs.

        Raises KernelUnavailable.
        """
        if owner is not None:
            for kernel in self._used:
                if kernel.owner == owner:
                    self._used.remove(kernel)
                    return kernel
        if self._fresh:
            return self._fresh.popleft()
        future: asyncio.Future[Kernel] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.ensure(0)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                self._fresh.append(future.result())
            raise

    def ensure(self, spares: int = 1) -> None:
        """See to it that everybody gets a kernel who waits for one, and ``spares`` are left."""
        while not self._closed and len(self._starting) + len(self._fresh) < spares + sum(
            not future.done() for future in self._waiting
        ):
            task = asyncio.create_task(self._start())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def put_back(self, kernel: Kernel, now: float) -> None:
        """It may run another call of the same owner, or has run nothing at all."""
        kernel.listener = None
        kernel.idle_since = now
        if kernel.ended.done() or self._closed:
            self.retire(kernel)
        elif kernel.owner is None:
            self._fresh.append(kernel)
        else:
            self._used.append(kernel)

    def retire(self, kernel: Kernel) -> None:
        """It has run its job."""
        kernel.listener = None
        kernel.kill()
        task = asyncio.create_task(kernel.gone())
        self._killed[task] = kernel
        task.add_done_callback(self._killed.pop)

    async def make_way(self, gpus: Sequence[int]) -> None:
        """See :meth:`Kernels.make_way`."""
        for kernel in [kernel for kernel in self._used if kernel.holds(gpus)]:
            self._used.remove(kernel)
            self.retire(kernel)
        if ends := [task for task, kernel in self._killed.items() if kernel.holds(gpus)]:
            _, stuck = await asyncio.wait(ends, timeout=GONE_S)
            for task in stuck:
                self._killed[task].holds_gpu = False  # the next job need not wait for it, too

    def tidy(self, now: float) -> None:
        """Retire what has not been used for a while."""
        while self._used and now - self._used[0].idle_since > USED_IDLE_S:
            self.retire(self._used.popleft())

    async def close(self) -> None:
        self._closed = True
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for kernel in [*self._fresh, *self._used]:
            self.retire(kernel)
        self._fresh.clear()
        self._used.clear()
        await asyncio.gather(*self._killed, return_exceptions=True)
        await self._launcher.close()

    async def _start(self) -> None:
        try:
            kernel = Kernel(await self._launcher.start(), self._executable)
        except (OSError, EOFError, RuntimeError, TimeoutError, JupyterRemoteError) as error:
            log.warning("no kernel of %s: %s", self._executable, error)
            self._hand_over(KernelUnavailable(f"{self._executable} starts no kernel: {error}"))
            return
        kernel.ended.add_done_callback(lambda _: self._forget(kernel))
        if not self._hand_over(kernel):
            self._fresh.append(kernel)

    def _hand_over(self, kernel: Kernel | KernelUnavailable) -> bool:
        while self._waiting:
            future = self._waiting.popleft()
            if future.done():
                continue
            if isinstance(kernel, Kernel):
                future.set_result(kernel)
            else:
                future.set_exception(kernel)
            return True
        return False

    def _forget(self, kernel: Kernel) -> None:
        for shelf in (self._fresh, self._used):
            if kernel in shelf:
                shelf.remove(kernel)


class Kernels:
    """Shelves by interpreter."""

    def __init__(self, make: Callable[[str], Launcher], default: str) -> None:
        self._make = make
        self._default = default
        self._shelves: dict[str, Shelf] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def shelf(self, executable: str, now: float) -> Shelf:
        """The shelf of this interpreter; without one, of the agent's own."""
        executable = executable or self._default
        if (shelf := self._shelves.get(executable)) is None:
            shelf = self._shelves[executable] = Shelf(self._make(executable), executable)
        shelf.used_at = now
        return shelf

    async def make_way(self, gpus: Sequence[int]) -> None:
        """End processes that wait for a call and hold memory of these GPUs, of which one that
        begins now may want all; wait also for those that are ending already."""
        await asyncio.gather(*(shelf.make_way(gpus) for shelf in self._shelves.values()))

    def tidy(self, now: float) -> None:
        """Called now and then: forget interpreters and processes not used for a while."""
        for shelf in self._shelves.values():
            shelf.tidy(now)
        newest = max((s.used_at for s in self._shelves.values()), default=0.0)
        for executable, shelf in list(self._shelves.items()):
            if shelf.used_at < newest and now - shelf.used_at > INTERPRETER_IDLE_S:
                del self._shelves[executable]
                task = asyncio.create_task(shelf.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        await asyncio.gather(*(shelf.close() for shelf in self._shelves.values()))
        await asyncio.gather(*self._closing)
