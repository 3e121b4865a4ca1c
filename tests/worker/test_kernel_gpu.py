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


def use_torch(folder: Path, tensors: int, graphs: int = 0, broken: bool = False) -> None:
    """A stand-in for PyTorch: what was freed stays reserved; ``tensors``: bytes that were not.
    ``graphs``: what CUDA graphs keep, which is no tensor's."""
    import sys
    from types import ModuleType, SimpleNamespace

    def synchronize(device: int) -> None:
        if broken:
            raise RuntimeError("CUDA error: device-side assert triggered")

    def empty_cache() -> None:
        cuda.reserved = tensors + graphs
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


@pytest.mark.parametrize(
    ("tensors", "graphs", "holds"), [(GB // 10, 0, False), (5 * GB, 0, True), (0, 5 * GB, True)]
)
async def test_what_pytorch_keeps_is_freed_when_no_call_follows(
    agent: PlayingAgent, tmp_path: Path, tensors: int, graphs: int, holds: bool
) -> None:
    await agent.call(open_gpu, tmp_path)
    done = (await agent.call(use_torch, tmp_path, tensors, graphs)).done
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


def use_an_allocator_that_does_not_count(folder: Path, broken: bool) -> None:
    """As RMM's, which PyTorch may be told to use."""
    import sys

    def uncounted(device: int) -> int:
        raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats.")

    use_torch(folder, 0, broken=broken)
    cuda: Any = sys.modules["torch"].cuda
    cuda.memory_reserved = cuda.memory_allocated = uncounted
    cuda.current_device = lambda: 0


@pytest.mark.parametrize("broken", [False, True])
async def test_where_memory_is_not_counted_a_process_runs_other_calls_unless_its_gpu_failed(
    agent: PlayingAgent, tmp_path: Path, broken: bool
) -> None:
    await agent.call(open_gpu, tmp_path)
    done = (await agent.call(use_an_allocator_that_does_not_count, tmp_path, broken)).done
    assert done.retire is broken
    assert (await rested(agent)).holds_gpu


def call_something_else_torch() -> int:
    import sys
    from types import SimpleNamespace

    sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace())  # type: ignore[assignment]
    return 5


async def test_what_user_code_puts_in_the_place_of_pytorch_costs_no_result(
    agent: PlayingAgent, tmp_path: Path
) -> None:
    await agent.call(open_gpu, tmp_path)
    call = await agent.call(call_something_else_torch)
    assert call.value() == 5
    assert call.done.retire
    assert (await rested(agent)).holds_gpu


def leave_no_descriptors() -> int:
    import resource

    lowest = os.dup(0)
    os.close(lowest)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    return 5


async def test_a_call_that_leaves_no_descriptors_keeps_its_result(
    agent: PlayingAgent, tmp_path: Path
) -> None:
    await agent.call(open_gpu, tmp_path)
    call = await agent.call(leave_no_descriptors)
    assert call.value() == 5
    assert call.done.holds_gpu
