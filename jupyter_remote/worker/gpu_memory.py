"""What a process that waits for its next call holds of a GPU, which others want meanwhile.

PyTorch keeps the memory that tensors had for the next ones. Freeing it and taking it again costs up
to a tenth of a second (docs/gpu.md), so that it is freed only where no call follows at once. Other
libraries (JAX takes most of a GPU when it starts) give nothing back before their process ends.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

DEVICES = "/dev/nvidia"
IDLE_S = 0.25  # a call that comes within this finds the memory as it was
MUCH_BYTES = 256 * 1024**2  # libraries keep less than that for their own work
KEEPERS = ("jaxlib", "tensorflow", "cupy")


def is_open() -> bool:
    """Has this process opened a GPU?"""
    return os.path.exists(f"{DEVICES}ctl") and any(map(_is_gpu, os.listdir("/proc/self/fd")))


def is_usable() -> bool:
    """Not after an error of code on the GPU: then every call of CUDA in this process fails."""
    if (cuda := _cuda()) is None:
        return True
    try:
        for device in _used(cuda):
            cuda.synchronize(device)
    except Exception:  # whichever PyTorch has for it
        return False
    return True


def release() -> bool:
    """Free what PyTorch keeps. Returns whether this process may still hold much."""
    if (cuda := _cuda()) is None:
        return True
    if _held(cuda) > MUCH_BYTES:
        gc.collect()
    cuda.empty_cache()
    return _held(cuda) > MUCH_BYTES or not sys.modules.keys().isdisjoint(KEEPERS)


def _is_gpu(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(DEVICES).isdigit()
    except OSError:  # that of the list itself
        return False


def _cuda() -> Any:
    """PyTorch's, if this process has used it."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _used(cuda: Any) -> list[int]:
    return [i for i in range(cuda.device_count()) if cuda.memory_reserved(i)]


def _held(cuda: Any) -> int:
    """Bytes of tensors that are still there."""
    return sum(cuda.memory_allocated(device) for device in _used(cuda))
