"""Tensors of PyTorch travel as arrays of numpy do: their memory beside the pickle, without a copy.

PyTorch's own way copies it three times into the pickle, and fails where a GPU is missing. One that
comes from a GPU goes to the same GPU, or into main memory where there is none.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

CPU, CUDA = "cpu", "cuda"
_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter")
_accepted: ContextVar[Callable[[], bool]] = ContextVar("accepted", default=lambda: False)
_moved: ContextVar[set[str] | None] = ContextVar("moved", default=None)


def is_tensor(obj: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(obj, torch.Tensor)


@contextlib.contextmanager
def gpu(there: Callable[[], bool]) -> Iterator[None]:
    """While this lasts, tensors on a GPU may be packed if ``there`` says so, which is asked only
    if there are any."""
    token = _accepted.set(there)
    try:
        yield
    finally:
        _accepted.reset(token)


@contextlib.contextmanager
def noted() -> Iterator[set[str]]:
    """The GPUs whose tensors are in main memory now, as this side has none."""
    moved: set[str] = set()
    token = _moved.set(moved)
    try:
        yield moved
    finally:
        _moved.reset(token)


def why_not(tensor: Any) -> str:
    """Why it cannot travel; empty: it can."""
    place = tensor.device.type
    if place == CPU or (place == CUDA and _can_be_moved(tensor) and _accepted.get()()):
        return ""
    return f"a tensor on {tensor.device} (move it with `.cpu()`)"


def _can_be_moved(tensor: Any) -> bool:
    torch = sys.modules["torch"]
    kind = type(tensor)
    return bool(
        f"{kind.__module__}.{kind.__qualname__}" in _TYPES
        and tensor.layout is torch.strided
        and tensor.device.type in (CPU, CUDA)
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and not tensor._backward_hooks
        and "numpy" in sys.modules
    )


def reduce_tensor(tensor: Any) -> Any:
    if not _can_be_moved(tensor):
        return NotImplemented
    torch = sys.modules["torch"]
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    is_parameter = type(tensor) is torch.nn.Parameter
    gradient = tensor.grad if tensor.is_leaf else None
    arguments = (
        flat,
        tensor.dtype,
        tuple(tensor.shape),
        str(tensor.device),
        tensor.requires_grad,
        is_parameter,
        gradient,
    )
    return _make_tensor, arguments, vars(tensor) or None, None, None, _set_attributes


def _make_tensor(
    flat: Any,
    dtype: Any,
    shape: tuple[int, ...],
    device: str,
    requires_grad: bool,
    is_parameter: bool,
    gradient: Any,
) -> Any:
    import torch

    own = flat if flat.flags.writeable else flat.copy()
    tensor = torch.from_numpy(own).view(dtype).reshape(shape)
    if device != CPU:
        tensor = _at(tensor, device)
    if is_parameter:
        tensor = torch.nn.Parameter(tensor, requires_grad)
    else:
        tensor.requires_grad_(requires_grad)
    if gradient is not None:
        tensor.grad = gradient
    return tensor


def _at(tensor: Any, device: str) -> Any:
    import torch

    if not torch.cuda.is_available():
        if (moved := _moved.get()) is not None:
            moved.add(device)
        return tensor
    number = torch.device(device).index or 0
    return tensor.to(device if number < torch.cuda.device_count() else CUDA)


def _set_attributes(tensor: Any, attributes: dict[str, Any]) -> None:
    vars(tensor).update(attributes)
