"""A zygote for each module, a kernel for each test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from jupyter_remote.worker.launch import KernelLauncher
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
