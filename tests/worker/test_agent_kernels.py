"""The agent with real kernels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from jupyter_remote.worker.agent import Agent
from jupyter_remote.worker.config import Config
from tests.worker.agents_server import FakeServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeServer]:
    """One with an agent of two slots."""
    async with FakeServer().listening() as server:
        config = Config(url=server.url, token="t", home=str(tmp_path / "agent"), slots=2)
        task = asyncio.create_task(Agent(config).run())
        await server.until(lambda: server.hellos)
        yield server
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_cell_runs_in_a_real_kernel(server: FakeServer):
    job = await server.assign("print('hello')\nfrom IPython.display import HTML\nHTML('<b>x</b>')")
    done = await server.end_of(job)
    assert (done.outcome, done.error) == ("succeeded", None)
    assert server.text(job) == "hello\n"
    assert server.data(job, "execute_result")[0]["data"]["text/html"] == "<b>x</b>"


async def test_a_segfault_is_named_and_the_next_job_runs(server: FakeServer):
    job = await server.assign("print('so far')\nimport ctypes\nctypes.string_at(0)")
    done = await server.end_of(job)
    assert (done.outcome, done.signal, done.reason) == ("died", "SIGSEGV", "kernel_died")
    assert done.detail.startswith("killed by SIGSEGV; last output: so far")
    assert server.text(job).startswith("so far\n")
    assert (await server.end_of(await server.assign("1 + 1"))).outcome == "succeeded"


async def test_an_interrupt_is_a_keyboard_interrupt_in_the_cell(server: FakeServer):
    code = "import time\ntry: print('x'); time.sleep(60)\nfinally: print('cleaned up')"
    job = await server.assign(code)
    await server.until(lambda: server.text(job))
    await server.cancel(job)
    done = await server.end_of(job)
    assert done.outcome == "cancelled"
    assert server.text(job) == "x\ncleaned up\n"


async def test_a_flood_of_prints_is_whole_in_the_log(server: FakeServer):
    code = "for i in range(300_000): print(f'{i:060}')"
    job = await server.assign(code)
    done = await server.end_of(job)
    assert done.log is not None
    log = server.stored[done.log.digest].decode()
    assert log == "".join(f"{i:060}\n" for i in range(300_000))
    assert len(server.text(job)) < 9_000_000
    assert server.text(job).endswith(f"{299_999:060}\n")


async def test_memory_above_its_limit_is_named(server: FakeServer):
    code = "print('taking'); x = bytearray(800_000_000)\nimport time; time.sleep(60)"
    done = await server.end_of(await server.assign(code, memory_bytes=400_000_000))
    assert (done.outcome, done.reason) == ("failed", "out_of_memory")


SEEN = "import os, time\nprint(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"


async def test_two_jobs_of_one_owner_see_gpus_of_their_own(server: FakeServer):
    wait = f"{SEEN}\ntime.sleep(60)"
    jobs = [
        await server.assign(wait, owner="ann", gpus=[0]),
        await server.assign(wait, owner="ann", gpus=[2, 3]),
    ]
    await server.until(lambda: all(server.text(job).endswith("\n") for job in jobs))
    assert [server.text(job) for job in jobs] == ["0\n", "2,3\n"]
    for job in jobs:
        await server.cancel(job, "kill")
        await server.end_of(job)


async def test_a_job_that_has_its_machine_sees_all_of_its_gpus(server: FakeServer):
    job = await server.assign(SEEN, owner="ann")
    await server.end_of(job)
    assert server.text(job) == "all\n"
