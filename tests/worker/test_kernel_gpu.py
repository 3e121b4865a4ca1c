"""A process that waits for its next call leaves a GPU's memory to others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote.worker import channel
from tests.worker.playing_agent import PlayingAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")

GB = 1024**3


def open_gpu(folder: Path) -> None:
    """Files stand for the devices."""
    from jupyter_remote.worker import gpu_memory

    gpu_memory.DEVICES = str(folder / "nvidia")
    (folder / "nvidiactl").touch()
    os.open(folder / "nvidia0", os.O_CREAT)


def use_torch(folder: Path, tensors: int, broken: bool = False) -> None:
    """A stand-in for PyTorch: what was freed stays reserved; ``tensors``: bytes that were not."""
    import sys
    from types import ModuleType, SimpleNamespace

    def synchronize(device: int) -> None:
        if broken:
            raise RuntimeError("CUDA error: device-side assert triggered")

    def empty_cache() -> None:
        cuda.reserved = tensors
        (folder / "freed").touch()

    cuda: Any = SimpleNamespace(
        reserved=tensors + (10 << 30),
        is_initialized=lambda: True,
        device_count=lambda: 2,
        memory_reserved=lambda device: 0 if device else cuda.reserved,
        memory_allocated=lambda device: tensors,
        synchronize=synchronize,
        empty_cache=empty_cache,
    )
    torch: Any = ModuleType("torch")
    torch.cuda = cuda
    sys.modules["torch"] = torch


async def rested(agent: PlayingAgent) -> channel.Rested:
    message = await agent.until(lambda m: isinstance(m, channel.Rested))
    assert isinstance(message, channel.Rested)
    return message


async def test_without_a_gpu_nothing_is_said_of_one(agent: PlayingAgent) -> None:
    assert not (await agent.call(os.getpid)).done.holds_gpu
    assert not (await agent.call(os.getpid)).done.holds_gpu
    assert not any(isinstance(m, channel.Rested) for m in agent.now.messages)


@pytest.mark.parametrize(("tensors", "holds"), [(GB // 10, False), (5 * GB, True)])
async def test_what_pytorch_keeps_is_freed_when_no_call_follows(
    agent: PlayingAgent, tmp_path: Path, tensors: int, holds: bool
) -> None:
    await agent.call(open_gpu, tmp_path)
    done = (await agent.call(use_torch, tmp_path, tensors)).done
    assert done.holds_gpu
    assert not done.retire
    assert (await rested(agent)).holds_gpu is holds
    assert (tmp_path / "freed").exists()


def use_jax() -> None:
    import sys
    from types import ModuleType

    sys.modules["jaxlib"] = ModuleType("jaxlib")


@pytest.mark.parametrize("beside_torch", [False, True])
async def test_a_library_that_gives_nothing_back_holds_the_gpu(
    agent: PlayingAgent, tmp_path: Path, beside_torch: bool
) -> None:
    await agent.call(open_gpu, tmp_path)
    if beside_torch:
        await agent.call(use_torch, tmp_path, 0)
    assert (await agent.call(use_jax)).done.holds_gpu
    assert (await rested(agent)).holds_gpu


async def test_a_process_whose_gpu_has_failed_runs_no_other_call(
    agent: PlayingAgent, tmp_path: Path
) -> None:
    await agent.call(open_gpu, tmp_path)
    assert (await agent.call(use_torch, tmp_path, 0, broken=True)).done.retire
