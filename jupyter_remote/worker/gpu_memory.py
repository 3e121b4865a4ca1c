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
KEEPERS = ("jaxlib", "tensorflow", "cupy", "rmm", "onnxruntime", "llama_cpp", "ctranslate2")


def is_open() -> bool:
    """Has this process opened a GPU?"""
    if not os.path.exists(f"{DEVICES}ctl"):
        return False
    try:
        return any(map(_is_gpu, os.listdir("/proc/self/fd")))
    except OSError:  # user code has left no descriptor for it
        return True


def is_usable() -> bool:
    """Not after an error of code on the GPU: then every call of CUDA in this process fails."""
    try:
        if (cuda := _cuda()) is not None:
            for device in _used(cuda):
                cuda.synchronize(device)
    except Exception:  # whichever PyTorch, or what user code has put in its place, has for it
        return False
    return True


def release() -> bool:
    """Free what PyTorch keeps. Returns whether this process may still hold much."""
    try:
        return (cuda := _cuda()) is None or _holds_much_after_release(cuda)
    except Exception:  # nothing is known of it
        return True


def _is_gpu(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(DEVICES).isdigit()
    except OSError:  # that of the list itself
        return False


def _cuda() -> Any:
    """PyTorch's, if this process has used it."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _holds_much_after_release(cuda: Any) -> bool:
    if sum(map(cuda.memory_allocated, _used(cuda))) > MUCH_BYTES:
        gc.collect()
    cuda.empty_cache()
    left = sum(map(cuda.memory_reserved, _used(cuda)))  # also what CUDA graphs have for themselves
    return left > MUCH_BYTES or not sys.modules.keys().isdisjoint(KEEPERS)


def _used(cuda: Any) -> list[int]:
    try:
        return [i for i in range(cuda.device_count()) if cuda.memory_reserved(i)]
    except RuntimeError:  # an allocator that was put in place of PyTorch's (RMM's) does not count
        return [cuda.current_device()]
