"""A zygote for each module, a kernel for each test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jupyter_remote.worker.agent import Agent
from jupyter_remote.worker.config import Config
from jupyter_remote.worker.launch import KernelLauncher
from tests.worker.agents_kernel import Begin, FakeLauncher
from tests.worker.agents_server import FakeServer
from tests.worker.playing_agent import PlayingAgent, started
from tests.worker.sessions import Playing, playing


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def launcher() -> AsyncIterator[KernelLauncher]:
    launcher = KernelLauncher()
    yield launcher
    await launcher.close()


@pytest_asyncio.fixture(loop_scope="module")
async def agent(launcher: KernelLauncher, tmp_path: Path) -> AsyncIterator[PlayingAgent]:
    agent = await started(launcher, tmp_path)
    yield agent
    agent.handle.kill()
    with contextlib.suppress(asyncio.CancelledError):
        await agent.handle.wait()
    agent.handle.close()


@pytest_asyncio.fixture(loop_scope="module")
async def session(launcher: KernelLauncher, tmp_path: Path) -> AsyncIterator[Playing]:
    """A kernel that serves a session."""
    async with playing(launcher, tmp_path) as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().listening() as server:
        yield server


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent and its server are in one process here: when that stalls, no server is silent."""
    monkeypatch.setattr("jupyter_remote.worker.agent.SILENT_BEATS", 1000)


@pytest.fixture
async def begin(server: FakeServer, tmp_path: Path) -> AsyncIterator[Begin]:
    """Starts an agent and waits until it has said hello."""
    tasks: list[asyncio.Task[None]] = []

    async def begin(**options: Any) -> Agent:
        launcher = options.pop("launcher", None) or FakeLauncher()
        launchers = options.pop("launchers", None) or (lambda executable: launcher)
        clock = options.pop("clock", None)
        options = {"slots": 1, "interrupt_grace_s": 30.0, **options}
        config = Config(url=server.url, token="secret", home=str(tmp_path / "agent"), **options)
        agent = Agent(config, clock, launcher=launchers)
        tasks.append(asyncio.create_task(agent.run()))
        begin.task = tasks[-1]  # type: ignore[attr-defined]
        await server.until(lambda: server.hellos)
        return agent

    yield begin
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
