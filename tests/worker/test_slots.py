"""Kernel processes that hold a GPU make way for those that begin."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_remote.worker import channel, slots
from jupyter_remote.worker.slots import Kernels, Shelf

ENDS_S = 60.0  # within which all comes that comes
LOOK_S = 0.05  # for what does not come


class Dying:
    """A process that holds a GPU and ends when ``gone`` is set, however often it is killed."""

    pid = 1

    def __init__(self) -> None:
        self.said = [channel.Rested(holds_gpu=True)]
        self.heard = asyncio.Event()
        self.killed = asyncio.Event()
        self.gone = asyncio.Event()

    async def send(self, message: channel.ToKernel) -> None:
        pass

    async def receive(self) -> channel.FromKernel:
        if self.said:
            return self.said.pop()
        self.heard.set()
        await self.gone.wait()
        raise EOFError

    def interrupt(self) -> None:
        pass

    def checkpoint(self, why: str) -> None:
        pass

    def kill(self) -> None:
        self.killed.set()

    def relieve(self, now: float) -> list[channel.Text]:
        return []

    async def wait(self) -> str:
        await self.gone.wait()
        return "SIGKILL"

    def close(self) -> None:
        pass


class Launcher:
    def __init__(self) -> None:
        self.handles: list[Dying] = []

    async def start(self) -> Dying:
        self.handles.append(Dying())
        return self.handles[-1]

    async def close(self) -> None:
        pass


async def waiting_process() -> tuple[Kernels, Shelf, Dying]:
    """One that has run a call."""
    launcher = Launcher()
    kernels = Kernels(lambda executable: launcher, "python")
    shelf = kernels.shelf("", 0.0)
    kernel = await shelf.take("a")
    await launcher.handles[0].heard.wait()
    kernel.owner = "a"
    shelf.put_back(kernel, 0.0)
    return kernels, shelf, launcher.handles[0]


async def test_each_job_that_begins_waits_until_the_memory_is_free() -> None:
    kernels, _, process = await waiting_process()
    first = asyncio.create_task(kernels.make_way([]))
    await process.killed.wait()
    second = asyncio.create_task(kernels.make_way([]))
    other = asyncio.create_task(kernels.make_way([]))
    other.cancel()  # its job was
    done, _ = await asyncio.wait({first, second}, timeout=LOOK_S)
    assert not done
    process.gone.set()
    async with asyncio.timeout(ENDS_S):
        await asyncio.gather(first, second)
        await kernels.close()


async def test_a_job_also_waits_for_a_process_whose_gpu_failed_or_whose_time_is_over() -> None:
    kernels, shelf, process = await waiting_process()
    shelf.retire(await shelf.take("a"))
    begins = asyncio.create_task(kernels.make_way([]))
    done, _ = await asyncio.wait({begins}, timeout=LOOK_S)
    assert not done
    process.gone.set()
    async with asyncio.timeout(ENDS_S):
        await begins
        await kernels.close()


async def test_a_process_that_a_driver_holds_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels, _, process = await waiting_process()
    monkeypatch.setattr(slots, "GONE_S", 0.01)
    await kernels.make_way([])
    monkeypatch.setattr(slots, "GONE_S", 2 * ENDS_S)
    async with asyncio.timeout(ENDS_S):
        await kernels.make_way([])
        process.gone.set()
        await kernels.close()
